"""Class indices of any integer type as bytes, and whether all of them are classes."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

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
    actions,  # (N, P) integers
    num_classes,
    classes,  # (N, P) uint8; written
    wrong,  # (N,) bool; written
):
    limit = np.uint64(num_classes)
    for n in numba.prange(actions.shape[0]):
        row, narrowed, found = actions[n], classes[n], False
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
    rows = np.ascontiguousarray(actions)
    if rows.ndim != 2:
        rows = rows.reshape(len(rows), -1)
    classes, wrong = np.empty(rows.shape, np.uint8), np.empty(len(rows), np.bool_)
    _narrow.on_arrays(len(rows), rows, num_classes, classes, wrong)
    if classes.shape != actions.shape:
        classes = classes.reshape(actions.shape)
    return classes, not np.count_nonzero(wrong)
