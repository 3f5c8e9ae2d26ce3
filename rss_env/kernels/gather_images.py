"""The current images of a batch: chosen, flipped where wanted, repeated for each group member."""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_env.arrays import Array, alike, as_array, as_tensor
from rss_env.compiled import compiled
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


def gather_images_reference(
    images: torch.Tensor, index: torch.Tensor, mirrored: torch.Tensor, repeats: int
) -> torch.Tensor:
    """Gather by indexing, flipping and repeating."""
    chosen = images[index]
    shape = (-1,) + (1,) * (chosen.ndim - 1)
    chosen = torch.where(mirrored.view(shape), chosen.flip(2), chosen)
    return chosen.repeat_interleave(repeats, 0)


@compiled()
def _mirror(row, mirrored, depth):
    """Write a row (W * depth,) of pixels from right to left; unsigned, as no index is below 0."""
    size = np.uint64(row.size)
    if depth == 3:  # spelt out, the compiler makes shuffled vectors of it
        for x in range(np.uint64(0), size, np.uint64(3)):
            source = size - np.uint64(3) - x
            mirrored[x] = row[source]
            mirrored[x + np.uint64(1)] = row[source + np.uint64(1)]
            mirrored[x + np.uint64(2)] = row[source + np.uint64(2)]
        return
    for x in range(np.uint64(0), size, depth):
        for d in range(depth):
            mirrored[x + d] = row[size - depth - x + d]


@BatchLoop
def _copy_images(
    images,  # (M, H, W, D) uint8
    index,  # (G,) int64
    mirrored,  # (G,) bool
    repeats,
    batch,  # (G * repeats, H, W, D) uint8; written
):
    groups, (count, height, columns, depth) = index.size, images.shape
    width, size = columns * depth, height * columns * depth
    sources = images.reshape(count, size)  # here, where a reshape costs nothing
    copies = batch.reshape(groups, repeats, size)
    for g in numba.prange(groups):
        image, first = sources[index[g]], copies[g, 0]
        if mirrored[g]:
            for start in range(0, size, width):
                stop = start + width
                _mirror(image[start:stop], first[start:stop], np.uint64(depth))
        else:
            for x in range(size):  # in one run: of short rows each would cost a start
                first[x] = image[x]
        for k in range(1, repeats):
            copy = copies[g, k]
            for x in range(size):
                copy[x] = first[x]


def _empty_batch(images, index, mirrored, repeats: int = 1, **_) -> torch.Tensor:
    return images.new_empty(len(index) * repeats, *images.shape[1:])


@traceable("gather_images", _empty_batch)
def _gather_tensors(
    images: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    repeats: int = 1,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Gather tensors: what the operator is made of, which has no `into`."""
    chosen = choose(backend, images, COMPILED)
    if chosen == "reference":
        return gather_images_reference(images, index, mirrored, repeats)
    if chosen == "triton":
        from rss_env.kernels.triton.gather_images import gather_images_triton

        return gather_images_triton(images, index, mirrored, repeats)
    arrays = (as_array(images), as_array(index), as_array(mirrored))
    return as_tensor(gather_images(*arrays, repeats))


def gather_images(
    images: Array,
    index: Array,
    mirrored: Array,
    repeats: int = 1,
    *,
    into: np.ndarray | None = None,
    backend: str = "auto",
) -> Array:
    """Copy out a batch of images (or label maps).

    Takes tensors and gives a tensor, or takes arrays and gives an array.

    Args:
        images: (M, H, W, D) or (M, H, W), uint8.
        index: (G,) int64, which images.
        mirrored: (G,) bool, which of them to flip horizontally.
        repeats: How often each is repeated, neighbours in the batch.
        into: C-contiguous array that arrays are written to by numba; None for a new one.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (G * repeats, H, W, ...) uint8.
    """
    if not isinstance(images, np.ndarray) or backend not in ("auto", "numba"):
        batch = _gather_tensors(
            as_tensor(images), as_tensor(index), as_tensor(mirrored), repeats, backend=backend
        )
        return alike(images, batch)
    if len(index) == repeats == 1 and into is None and not mirrored[0]:
        return images[index[0] : index[0] + 1].copy()  # sooner done than a loop is called
    # NumPy asks the system for large pages, which a batch of new memory is filled much faster in.
    batch = np.empty((len(index) * repeats, *images.shape[1:]), np.uint8) if into is None else into
    source, written = as_array(images), batch
    if batch.ndim == 3:
        source, written = source[..., None], batch[..., None]
    _copy_images.on_arrays(
        len(index), source, as_array(index), as_array(mirrored), repeats, written
    )
    return batch
