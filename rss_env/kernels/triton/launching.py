"""Starting Triton kernels: on the device of their tensors, with tiles that fit in registers."""

from __future__ import annotations

from typing import Any

import torch
import triton

WARPS = 4  # of 32 threads, for each program
_TILE = 2048  # elements of a two-dimensional tile: 16 registers of a thread
ROW = 1024  # elements of a one-dimensional one


def padded(count: int) -> int:
    """Return the power of two that a tile's side of `count` elements takes."""
    return triton.next_power_of_2(count)


def block_beside(side: int, tile: int = _TILE) -> int:
    """Return the number of elements of a tile's other side, beside a padded one."""
    return max(tile // side, 1)


def launch(
    kernel: Any, grid: tuple[int, ...], *arguments: Any, warps: int = WARPS, **constants: Any
) -> None:
    """Start a kernel on the device of its first argument, a tensor; the host does not wait.

    Args:
        kernel: A `triton.jit` function.
        grid: Number of programs along each axis.
        *arguments: Tensors, and tuples of them, which are made contiguous (what is written to must
            be), and integers.
        warps: For each program.
        **constants: Those that the kernel is compiled for.
    """
    contiguous = [_contiguous(argument) for argument in arguments]
    with torch.cuda.device_of(contiguous[0]):  # Triton starts on the current device
        kernel[grid](*contiguous, **constants, num_warps=warps)


def _contiguous(argument: Any) -> Any:
    if isinstance(argument, tuple):
        return tuple(_contiguous(part) for part in argument)
    return argument.contiguous() if isinstance(argument, torch.Tensor) else argument
