"""Choice of a kernel's backend: reference, numba (parallel or serial) or Triton."""

from __future__ import annotations

import functools
import importlib
import os
import types
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch

from rss_env.arrays import as_array
from rss_env.compiled import compiled
from rss_env.errors import InputError, check_choice

BACKENDS = ("auto", "reference", "numba", "triton")
COMPILED = ("numba", "triton")  # of a kernel, beside its reference

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


@functools.cache
def has_triton() -> bool:
    """Tell whether Triton can be imported; it comes with PyTorch for CUDA, on Linux."""
    try:
        importlib.import_module("triton")
    except ImportError:
        return False
    return True


def choose(
    backend: str,
    tensor: torch.Tensor | np.ndarray,
    backends: Collection[str] = ("numba",),
) -> str:
    """Name the backend to run.

    Args:
        backend: `auto`, or the backend to run whatever the device.
        tensor: One that the kernel is to read, or an array.
        backends: Those that the kernel has, of `COMPILED`.

    Returns:
        For `auto`, as far as the kernel has it: `numba` for arrays and for tensors on the CPU,
        `triton` for those on CUDA if Triton can be imported. Otherwise `reference`.

    Raises:
        InputError: If `backend` is not one of `BACKENDS`, or cannot run here.
    """
    device = "cpu" if isinstance(tensor, np.ndarray) else tensor.device.type
    if backend == "auto" and device == "cpu":
        return "numba"
    if check_choice("backend", backend, BACKENDS) == "reference":
        return backend
    able = []
    if device == "cpu" and "numba" in backends:
        able.append("numba")
    # Triton's interpreter runs kernels on the CPU, for tests, if it is chosen before the import.
    interpreted = os.environ.get("TRITON_INTERPRET") == "1" and backend == "triton"
    if "triton" in backends and (device == "cuda" or interpreted) and has_triton():
        able.append("triton")
    if backend == "auto":
        return able[0] if able else "reference"
    if backend not in able:
        valid = ", ".join(("auto", "reference", *able))
        raise InputError(f"backend {backend!r} cannot run here on {device} tensors; valid: {valid}")
    return backend


def traceable(
    name: str, fake: Callable[..., Any], written: Sequence[str] = ()
) -> Callable[[Kernel], Kernel]:
    """Make of a kernel the operator `torch.ops.rss_env.<name>` as well (as a decorator).

    Fake tensors and `torch.compile` see the operator, one opaque step of known shape; other tensors
    take the plain function, which starts sooner. Neither has a gradient.

    Args:
        name: Of the operator.
        fake: Makes empty results from the arguments, by their shapes and types alone.
        written: Names of the arguments that are written to.
    """

    def register(kernel: Kernel) -> Kernel:
        kernel.__annotations__ = typing.get_type_hints(kernel)  # what the schema is read from
        operator = torch.library.custom_op(f"rss_env::{name}", kernel, mutates_args=written)
        operator.register_fake(fake)

        @functools.wraps(kernel)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not torch.compiler.is_compiling() and all(map(_is_plain, args)):
                return kernel(*args, **kwargs)
            detached = [a.detach() if isinstance(a, torch.Tensor) else a for a in args]
            return operator(*detached, **kwargs)

        return cast(Kernel, call)

    return register


def _is_plain(argument: object) -> bool:
    """Tell whether it is no tensor that stands for another (a fake one, one being traced)."""
    return type(argument) is torch.Tensor or not isinstance(argument, torch.Tensor)


_forked: list[bool] = []  # not empty in a process that was forked from another


def _note_fork() -> None:
    """Go on with one thread: those of the parent's pools are not there, and are waited for."""
    _forked.append(True)
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@functools.cache
def start_threads() -> None:
    """Start numba's threads, once in a process, and leave torch's number of threads as it is.

    Where both share a library of OpenMP, numba would set the number of both.
    """
    threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(threads)


class BatchLoop:
    """A `numba.prange` loop over a batch, compiled twice: serial and parallel.

    A batch of one takes the serial loop: threads would not pay, and numba's thread pools do not
    always allow two calling threads. Nor do they survive a fork: there, too, the loop is serial.
    """

    def __init__(self, function: types.FunctionType, *, fused: bool = False):
        """Compile a function of arrays and integers (as a decorator); both are cached on disk.

        Args:
            function: What to compile.
            fused: Whether products and sums may be rounded together.
        """
        # Never `reassoc`: code that is loaded from the cache would sum in another order.
        options: dict[str, Any] = {"fastmath": {"contract"} if fused else set[str]()}
        # numba's cache tells functions apart by name, not by option: without a name of its own
        # the serial loop would be answered with the parallel one's code.
        alone = types.FunctionType(function.__code__, function.__globals__)
        alone.__qualname__ = f"{function.__qualname__}_serial"
        self.serial = compiled(**options)(alone)
        self.parallel = compiled(parallel=True, **options)(function)

    def __call__(self, batch: int, *arguments: torch.Tensor | np.ndarray | float) -> None:
        """Run over a batch; tensors are passed as C-contiguous arrays, one compiled signature.

        Args:
            batch: Number of iterations of the parallel loop.
            *arguments: Of the function. Tensors it writes to must be contiguous, and arrays too.
        """
        arrays = [as_array(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        self.on_arrays(batch, *arrays)

    def on_arrays(self, batch: int, *arguments: Any) -> None:
        """Run over a batch of what needs no conversion: C-contiguous arrays and numbers."""
        if batch == 1 or _forked:
            self.serial(*arguments)
        else:
            start_threads()
            self.parallel(*arguments)
