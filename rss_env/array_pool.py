"""New arrays in memory that earlier ones have left: a batch of images is as large as the cache.

The system hands out memory page by page and clears it first, which takes longer than filling it
with images. So a pool keeps the memory of arrays that nobody holds any more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_IDLE = 3  # blocks kept: an environment gives out two batches a step, and its caller drops two


class _Lease:
    """Holds a block on behalf of an array, and gives it back when the array is gone."""

    def __init__(self, block: npt.NDArray[np.uint8], idle: list[npt.NDArray[np.uint8]]):
        self._block, self._idle = block, idle
        self.__array_interface__ = block.__array_interface__  # NumPy's protocol: no copy is made

    def __del__(self):
        if len(self._idle) < _IDLE:
            self._idle.append(self._block)


class ArrayPool:
    """Arrays of one shape, uint8; no two that exist at a time share memory."""

    def __init__(self, shape: tuple[int, ...]):
        """Start without memory.

        Args:
            shape: Of every array.
        """
        self._shape, self._idle = shape, list[npt.NDArray[np.uint8]]()

    def take(self) -> npt.NDArray[np.uint8]:
        """Give an array with anything in it; its memory is used again once all views are gone."""
        block = self._idle.pop() if self._idle else np.empty(self._shape, np.uint8)
        return np.asarray(_Lease(block, self._idle))
