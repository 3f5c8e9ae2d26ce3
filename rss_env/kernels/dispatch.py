"""Which face of a kernel runs: reference or numba, parallel or serial."""

from __future__ import annotations

from collections.abc import Callable

import numba
import torch

from rss_env.errors import check_choice

IMPLEMENTATIONS = ("auto", "reference", "numba")


def choose(implementation: str, tensor: torch.Tensor) -> str:
    """Name the face to run: `numba` for tensors on the CPU, `reference` elsewhere.

    Raises:
        InputError: If `implementation` is not one of `IMPLEMENTATIONS`.
    """
    if check_choice("implementation", implementation, IMPLEMENTATIONS) == "auto":
        return "numba" if tensor.device.type == "cpu" else "reference"
    return implementation


def assert_on_device(condition: torch.Tensor, message: str) -> None:
    """Fail on the device, later, if a boolean scalar is false: the host does not wait for it."""
    torch._assert_async(condition, message)  # pyright: ignore[reportPrivateImportUsage]


def compile_both(function: Callable[..., None]) -> tuple[Callable[..., None], Callable[..., None]]:
    """Compile a `numba.prange` loop twice: (serial, parallel).

    A batch of one takes the serial loop: threads would not pay, and numba's thread pools neither
    survive a fork (`AsyncVectorEnv`) nor always allow two calling threads.
    """
    serial = numba.njit(cache=True)(function)
    parallel = numba.njit(parallel=True, cache=True)(function)
    return serial, parallel
