"""Class indices as callers give them: checked and narrowed to bytes, never rounded or clamped."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rss_env.arrays import assert_on_device
from rss_env.errors import ActionError
from rss_env.kernels.narrow_classes import narrow_classes


def check_integers(
    values: Any, shape: tuple[int, ...], name: str, device: torch.device | None = None
) -> Any:
    """Check the type, the place and the shape of integers, and not yet their range.

    Args:
        values: Integers: an array, what NumPy makes one of, or a tensor.
        shape: What they must have.
        name: What they are, for messages.
        device: Where tensors must lie; None for the CPU, where arrays are taken as well.

    Returns:
        An array on the CPU, elsewhere a tensor; of the memory that was given.

    Raises:
        ActionError: Naming what is wrong and what was expected.
    """
    if not isinstance(values, torch.Tensor):
        try:
            values = np.asarray(values)
        except ValueError as error:  # ragged sequences
            raise ActionError(f"{name} is not a rectangular array: {error}") from None
        if values.dtype.kind not in "iu":
            raise ActionError(f"{name} must be integers, got dtype {values.dtype}")
        if device is not None:
            raise ActionError(f"{name} must be a torch tensor on {device}, got a NumPy array")
    else:
        wanted = device or torch.device("cpu")
        if values.device != wanted:
            raise ActionError(f"{name} must be on device {wanted}, got {values.device}")
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise ActionError(f"{name} must be integers, got dtype {values.dtype}")
        if device is None:
            values = values.detach().numpy()
    if tuple(values.shape) != shape:
        raise ActionError(f"{name} must have shape {shape}, got {tuple(values.shape)}")
    return values


def narrow(values: Any, num_classes: int, name: str, *, check_range: bool = True) -> Any:
    """Narrow integers to uint8.

    Args:
        values: (N, ...) integers, an array or a tensor elsewhere than on the CPU.
        num_classes: How many values there are, from 0 on.
        name: What they are, for messages.
        check_range: Whether to check every value; of tensors by an assertion on their device, so
            that nothing is copied to the host.

    Raises:
        ActionError: If one is out of range.
    """
    if isinstance(values, torch.Tensor):
        if check_range:
            legal = values < num_classes
            if values.dtype != torch.uint8:  # which is never below 0
                legal &= values >= 0
            assert_on_device(legal.all(), f"{name} must hold classes 0..{num_classes - 1}")
        return values.to(torch.uint8)
    classes, legal = narrow_classes(values, num_classes)
    if check_range and not legal:
        place = tuple(int(i) for i in np.argwhere((values < 0) | (values >= num_classes))[0])
        raise ActionError(
            f"{name} must hold classes 0..{num_classes - 1}, got {values[place]} at index {place}"
        )
    return classes
