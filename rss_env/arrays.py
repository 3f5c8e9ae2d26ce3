"""Arrays and tensors: conversions without a copy where none is needed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

Array = TypeVar("Array", np.ndarray, torch.Tensor)
"""Kernels take tensors, or arrays where no time is to be lost on wrapping them."""


def to_device(values: npt.NDArray[Any] | torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Move a small array, or a tensor on the CPU, to a device; the host waits for nothing.

    To CUDA it goes through pinned memory: from other memory the driver may wait for the device.
    """
    return on_host(values, device).to(device, non_blocking=True)


def on_host(values: npt.NDArray[Any] | torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """An array, or a tensor on the CPU, in memory from which a device takes it unwaited for."""
    tensor = as_tensor(values)
    if torch.device(device).type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor


def assert_on_device(condition: torch.Tensor, message: str) -> None:
    """Fail on the device, later, if a boolean scalar is false: the host does not wait for it."""
    torch._assert_async(condition, message)  # pyright: ignore[reportPrivateImportUsage]


@functools.cache
def _array_of(numbers: tuple[int, ...]) -> npt.NDArray[np.int64]:
    return np.array(numbers, np.int64)


def layout(numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    """Make a few integers the array that a kernel reads them from; not to be written to."""
    return _array_of(tuple(numbers))


def as_array(values: np.ndarray | torch.Tensor) -> np.ndarray:
    """Give a tensor on the CPU, or an array, as a C-contiguous array; copied if it is not one."""
    array = values if isinstance(values, np.ndarray) else values.numpy()
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def as_tensor(values: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Give an array as a tensor of the same memory; a tensor as it is."""
    return torch.from_numpy(values) if isinstance(values, np.ndarray) else values


def alike(values: Array, result: np.ndarray | torch.Tensor) -> Array:
    """Give a result as an array or a tensor, as `values` are; of the same memory."""
    if isinstance(values, np.ndarray):
        return result if isinstance(result, np.ndarray) else as_array(result)
    return as_tensor(result)


def steady_mean(values: torch.Tensor, axes: int | tuple[int, ...]) -> torch.Tensor:
    """The mean over some axes, which stay; the same however many others stand beside it.

    A device adds up in an order that depends on how much there is to add up: it does so in float64,
    where that is lost in rounding.
    """
    if values.device.type == "cpu":
        return values.mean(axes, keepdim=True)
    return values.double().mean(axes, keepdim=True).to(values.dtype)


def kept_where(mask: npt.NDArray[np.bool_], values: Array) -> Array:
    """Keep the rows of values (N, ...) in a mask (N,), and put zeros for the others."""
    rows = mask.reshape(-1, *[1] * (values.ndim - 1))
    if isinstance(values, np.ndarray):
        return np.where(rows, values, values.dtype.type(0))
    return torch.where(to_device(rows, values.device), values, 0.0)
