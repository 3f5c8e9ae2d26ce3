"""The CUDA backend of `gather_images`: images chosen, flipped and repeated."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import ROW, launch


@triton.jit
def copy_images(
    images,  # (M, H, W, D) uint8
    index,  # (G,) int64
    mirrored,  # (G,) bool
    batch,  # (G * repeats, H, W, D) uint8; written
    size,  # H * W * D
    width,
    depth,
    repeats,
    BLOCK: tl.constexpr,
):
    """Copy a block of an image's bytes to each of its places in the batch."""
    g = tl.program_id(0).to(tl.int64)
    m, flip = tl.load(index + g), tl.load(mirrored + g)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = e < size
    x = (e // depth) % width
    source = tl.where(flip, e + (width - 1 - 2 * x) * depth, e)
    value = tl.load(images + m * size + source, mask=inside, other=0)
    for r in range(repeats):  # read once, written K times
        tl.store(batch + (g * repeats + r) * size + e, value, mask=inside)


def gather_images_triton(
    images: torch.Tensor, index: torch.Tensor, mirrored: torch.Tensor, repeats: int
) -> torch.Tensor:
    """Gather by copying bytes; as `gather_images`."""
    batch = images.new_empty(len(index) * repeats, *images.shape[1:])
    size = images[0].numel()
    width = images.shape[2]
    launch(
        copy_images,
        (len(index), triton.cdiv(size, ROW)),
        *(images, index, mirrored, batch, size, width, size // (images.shape[1] * width), repeats),
        BLOCK=ROW,
    )
    return batch
