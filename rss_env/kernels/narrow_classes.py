"""Class indices of any integer type as bytes, and whether all of them are classes."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from rss_env.errors import check_choice
from rss_env.kernels.dispatch import BatchLoop

_USUAL = "Bil"  # uint8, int32 and int64 by their characters: others are rare enough for NumPy


def narrow_classes_reference(
    actions: npt.NDArray[Any], num_classes: int
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Narrow by NumPy, in three passes."""
    legal = not actions.size or (actions.min() >= 0 and actions.max() < num_classes)
    return actions.astype(np.uint8), bool(legal)


@BatchLoop
def _narrow(
    actions,  # integers, N rows of P and what lies between them
    distance,  # from the start of a row to that of the next
    num_classes,
    classes,  # (N, P) uint8; written
    wrong,  # (N,) bool; written
):
    limit = np.uint64(num_classes)
    for n in numba.prange(classes.shape[0]):
        start = n * distance
        row, narrowed, found = actions[start : start + classes.shape[1]], classes[n], False
        for p in range(row.size):
            found |= np.uint64(np.int64(row[p])) >= limit  # negative numbers are huge ones
            narrowed[p] = row[p]
        wrong[n] = found


def narrow_classes(
    actions: npt.NDArray[Any], num_classes: int, *, backend: str = "auto"
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Check and narrow class indices in one pass.

    Args:
        actions: (N, ...) integers of any type.
        num_classes: C, at most 255.
        backend: `auto`, `reference` or `numba`.

    Returns:
        A copy as uint8 of the same shape, modulo 256, and whether all indices are in 0..C-1.
    """
    if backend != "auto":
        check_choice("backend", backend, ("reference", "numba"))
    if backend == "reference" or (backend == "auto" and actions.dtype.char not in _USUAL):
        return narrow_classes_reference(actions, num_classes)
    rows, distance = _memory_of_rows(actions)
    classes, wrong = np.empty(actions.shape, np.uint8), np.empty(len(actions), np.bool_)
    narrowed = classes if classes.ndim == 2 else classes.reshape(len(classes), -1)
    _narrow.on_arrays(len(classes), rows, distance, num_classes, narrowed, wrong)
    return classes, not np.count_nonzero(wrong)


def _memory_of_rows(actions: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], int]:
    """What holds the rows of actions (N, ...), in one dimension, and how far apart they start.

    Part of each row of a larger array, such as the cells that count, is not copied for it.
    """
    size = actions.itemsize
    if not actions.flags.c_contiguous and actions.ndim == 2 and actions.strides[1] == size:
        distance, rest = divmod(actions.strides[0], size)
        if distance > 0 and not rest:
            length = (len(actions) - 1) * distance + actions.shape[1]
            return as_strided(actions, (length,), (size,)), distance
    rows = np.ascontiguousarray(actions).reshape(-1)
    return rows, rows.size // max(len(actions), 1)
