"""Which face of a kernel runs: reference or numba, parallel or serial."""

from __future__ import annotations

import types
from typing import TypeVar

import numba
import numpy as np
import torch

from rss_env.errors import check_choice

IMPLEMENTATIONS = ("auto", "reference", "numba")


Array = TypeVar("Array", np.ndarray, torch.Tensor)
"""What kernels take: tensors, or arrays where no time is to be lost on wrapping them."""


def choose(implementation: str, tensor: torch.Tensor | np.ndarray) -> str:
    """Name the face to run: `numba` for arrays and tensors on the CPU, `reference` elsewhere.

    Raises:
        InputError: If `implementation` is not one of `IMPLEMENTATIONS`.
    """
    if implementation == "auto":
        on_cpu = isinstance(tensor, np.ndarray) or tensor.device.type == "cpu"
        return "numba" if on_cpu else "reference"
    return check_choice("implementation", implementation, IMPLEMENTATIONS)


def assert_on_device(condition: torch.Tensor, message: str) -> None:
    """Fail on the device, later, if a boolean scalar is false: the host does not wait for it."""
    torch._assert_async(condition, message)  # pyright: ignore[reportPrivateImportUsage]


class BatchLoop:
    """A `numba.prange` loop over a batch, compiled twice: serial and parallel.

    A batch of one takes the serial loop: threads would not pay, and numba's thread pools neither
    survive a fork (`AsyncVectorEnv`) nor always allow two calling threads.
    """

    def __init__(self, function: types.FunctionType):
        """Compile a function of arrays and integers (as a decorator); both are cached on disk."""
        # numba's cache tells functions apart by name, not by option: without a name of its own
        # the serial loop would be answered with the parallel one's code.
        alone = types.FunctionType(function.__code__, function.__globals__)
        alone.__qualname__ = f"{function.__qualname__}_serial"
        self.serial = numba.njit(cache=True)(alone)
        self.parallel = numba.njit(parallel=True, cache=True)(function)

    def __call__(self, batch: int, *arguments: torch.Tensor | np.ndarray | int) -> None:
        """Run over a batch; tensors are passed as C-contiguous arrays, one compiled signature.

        Args:
            batch: Number of iterations of the parallel loop.
            *arguments: Of the function. Tensors it writes to must be contiguous, and arrays too.
        """
        arrays = [as_array(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        self.on_arrays(batch, *arrays)

    def on_arrays(self, batch: int, *arguments: np.ndarray | int) -> None:
        """Run over a batch of what needs no conversion: C-contiguous arrays and numbers."""
        (self.serial if batch == 1 else self.parallel)(*arguments)


def as_array(given: np.ndarray | torch.Tensor) -> np.ndarray:
    """A tensor on the CPU, or an array, as a C-contiguous array; copied only if it is not one."""
    return np.ascontiguousarray(given if isinstance(given, np.ndarray) else given.numpy())


def as_tensor(given: np.ndarray | torch.Tensor) -> torch.Tensor:
    """An array as a tensor of the same memory; a tensor as it is."""
    return torch.from_numpy(given) if isinstance(given, np.ndarray) else given


def alike(given: Array, result: np.ndarray | torch.Tensor) -> Array:
    """A result as what was given: an array or a tensor, of the same memory."""
    if isinstance(given, np.ndarray):
        return result if isinstance(result, np.ndarray) else as_array(result)
    return as_tensor(result)
