"""Hashes of images and of maps: the CUDA backend of `hash_images`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import ROW, launch

CHUNK = 16 * ROW  # bytes of a program


@triton.jit
def hash_bytes(
    images,  # (B, P) uint8
    weights,  # (M, P) int64
    parts,  # (B, M, T) int64; written: sums over each of T parts of the bytes
    size,  # P
    num_weights,  # M
    num_parts,  # T
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Add up a chunk of an image's bytes, as weighed; products and sums wrap."""
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    image, weight = images + n // num_weights * size, weights + n % num_weights * size
    sums = tl.zeros((BLOCK,), tl.int64)
    first = part * CHUNK
    for start in range(first, tl.minimum(first + CHUNK, size), BLOCK):
        p = start + tl.arange(0, BLOCK)
        value = tl.load(image + p, mask=p < size, other=0).to(tl.int64)
        sums += value * tl.load(weight + p, mask=p < size, other=0)
    tl.store(parts + n * num_parts + part, tl.sum(sums, 0))


def hash_images_triton(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sums of chunks, then of these; as `hash_images`."""
    count, (num_weights, size) = len(images), weights.shape
    num_parts = triton.cdiv(size, CHUNK)
    parts = weights.new_empty(count, num_weights, num_parts)
    launch(
        hash_bytes,
        (count * num_weights, num_parts),
        *(images.flatten(1), weights, parts, size, num_weights, num_parts),
        BLOCK=ROW,
        CHUNK=CHUNK,
    )
    return parts[..., 0] if num_parts == 1 else parts.sum(2)
