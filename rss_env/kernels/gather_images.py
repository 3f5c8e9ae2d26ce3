"""The current images of a batch: chosen, flipped where wanted, repeated for each group member."""

from __future__ import annotations

import numba
import torch

from rss_env.kernels.dispatch import FACES, BatchLoop, choose, traceable


def gather_images_reference(
    images: torch.Tensor, index: torch.Tensor, mirrored: torch.Tensor, repeats: int
) -> torch.Tensor:
    """The batch by indexing, flipping and repeating."""
    chosen = images[index]
    shape = (-1,) + (1,) * (chosen.ndim - 1)
    chosen = torch.where(mirrored.view(shape), chosen.flip(2), chosen)
    return chosen.repeat_interleave(repeats, 0)


@BatchLoop
def _copy_images(
    images,  # (M, H, W, D) uint8
    index,  # (G,) int64
    mirrored,  # (G,) bool
    repeats,
    batch,  # (G * repeats, H, W, D) uint8; written
):
    _, height, width, depth = images.shape
    for n in numba.prange(batch.shape[0]):
        m, flip = index[n // repeats], mirrored[n // repeats]
        for y in range(height):
            for x in range(width):
                source = width - 1 - x if flip else x
                for d in range(depth):
                    batch[n, y, x, d] = images[m, y, source, d]


def _empty_batch(images, index, mirrored, repeats: int = 1, **_) -> torch.Tensor:
    return images.new_empty(len(index) * repeats, *images.shape[1:])


@traceable("gather_images", _empty_batch)
def gather_images(
    images: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    repeats: int = 1,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Copy out a batch of images (or label maps).

    Args:
        images: (M, H, W, D) or (M, H, W), uint8.
        index: (G,) int64, which images.
        mirrored: (G,) bool, which of them to flip horizontally.
        repeats: How often each is repeated, neighbours in the batch.
        implementation: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (G * repeats, H, W, ...) uint8, freshly allocated.
    """
    face = choose(implementation, images, FACES)
    if face == "reference":
        return gather_images_reference(images, index, mirrored, repeats)
    if face == "triton":
        from rss_env.kernels.triton.gather_images import gather_images_triton

        return gather_images_triton(images, index, mirrored, repeats)
    batch = torch.empty(len(index) * repeats, *images.shape[1:], dtype=torch.uint8)
    with_depth = images.reshape(*images.shape[:3], -1)
    _copy_images(len(batch), with_depth, index, mirrored, repeats, batch.view(*batch.shape[:3], -1))
    return batch
