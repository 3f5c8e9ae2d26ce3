"""Images and labels that stay on the host, and go to the device batch by batch, ahead of their use.

For data sets that a device has no room for. While a batch is learned from, a thread gathers the
next one into pinned memory, from where the device takes it without the host waiting.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

_SHARE = 0.25  # of a device's free memory that images and labels may take by themselves

Samples = tuple[torch.Tensor, torch.Tensor | None]
Index = npt.NDArray[np.int64]


def streams(data_on: str, size: int, device: torch.device) -> bool:
    """Whether a data set of so many bytes is to stay on the host.

    Args:
        data_on: `device`, `host` or `auto`, which keeps it on the host if it would take more than a
            quarter of the memory that is free on a CUDA device.
        size: Bytes of images and labels.
        device: Where they are used.
    """
    if data_on != "auto":
        return data_on == "host"
    if device.type != "cuda" or not torch.cuda.is_available():  # or what pretends to be one
        return False
    return size > _SHARE * torch.cuda.mem_get_info(device)[0]


class StreamedImages:
    """Gives batches of images and labels, and gathers in a thread what is expected next."""

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8] | None,
        device: torch.device,
    ):
        """Bind images (M, H, W, 3) and labels (M, H, W), which are used on a device."""
        self._images, self._labels = images, labels
        self._is_pinned = device.type == "cuda"
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[Index, Future[Samples]] | None = None
        self._bytes, self._since = 0, 0.0

    @property
    def megabytes_per_second(self) -> float:
        """What was given, from the first batch until now; 0 before it."""
        return self._bytes / 1e6 / (time.monotonic() - self._since) if self._bytes else 0.0

    def take(self, index: Index) -> Samples:
        """Images (G, H, W, 3) and labels (G, H, W), if there are any, of numbers (G,); new tensors.

        On the host, in pinned memory if they are used on CUDA.
        """
        expected, self._ahead = self._ahead, None
        if expected is not None and np.array_equal(expected[0], index):
            samples = expected[1].result()
        else:
            samples = self._gather(index)
        self._since = self._since or time.monotonic()
        self._bytes += sum(part.nbytes for part in samples if part is not None)
        return samples

    def expect(self, index: Index) -> None:
        """Gather what will be taken next, in a thread; another batch may be taken all the same."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "images-ahead")
        self._ahead = (index, self._thread.submit(self._gather, index))

    def _gather(self, index: Index) -> Samples:
        labels = None if self._labels is None else self._rows(self._labels, index)
        return self._rows(self._images, index), labels

    def _rows(self, source: npt.NDArray[np.uint8], index: Index) -> torch.Tensor:
        shape = (len(index), *source.shape[1:])
        rows = torch.empty(shape, dtype=torch.uint8, pin_memory=self._is_pinned)
        np.take(source, index, axis=0, out=rows.numpy(), mode="clip")  # unbuffered; all are valid
        return rows
