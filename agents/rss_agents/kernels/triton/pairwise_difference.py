"""Advantages of cells from differences in score: the CUDA backend of `pairwise_difference`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded


@triton.jit
def count_differences(
    maps,  # (B, K, P) uint8
    differing,  # (B, K, K) int32; written: cells in which two maps differ
    cells,
    GROUP_SIZE: tl.constexpr,  # K
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count the cells in which a map differs from each of its group."""
    n = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, PADDED)
    rows = (n // GROUP_SIZE * GROUP_SIZE + k[:, None]) * cells
    counts = tl.zeros((PADDED, BLOCK), tl.int32)
    for start in range(0, cells, BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < cells
        other = tl.load(maps + n * cells + p, mask=inside, other=0)[None, :]
        there = (k[:, None] < GROUP_SIZE) & inside[None, :]
        own = tl.load(maps + rows + p[None, :], mask=there, other=0)
        counts += ((own != other) & there).to(tl.int32)
    tl.store(differing + n * GROUP_SIZE + k, tl.sum(counts, 1), mask=k < GROUP_SIZE)


@triton.jit
def share_differences(
    scores,  # (B, K) floating point
    maps,  # (B, K, P) uint8
    differing,  # (B, K, K) int32
    advantages,  # (B, K, P) floating point; written
    cells,
    GROUP_SIZE: tl.constexpr,  # K
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Share out the differences in score over a block of a group's cells."""
    b = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, PADDED)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    there = (k[:, None] < GROUP_SIZE) & (p < cells)[None, :]
    places = (b * GROUP_SIZE + k[:, None]) * cells + p[None, :]
    own = tl.load(maps + places, mask=there, other=0)
    score = tl.load(scores + b * GROUP_SIZE + k, mask=k < GROUP_SIZE, other=0.0)
    total = tl.zeros((PADDED, BLOCK), score.dtype)
    for j in range(GROUP_SIZE):
        row = b * GROUP_SIZE + j
        other = tl.load(maps + row * cells + p, mask=p < cells, other=0)
        # Equal maps differ nowhere, so nothing is added for them.
        apart = tl.load(differing + row * GROUP_SIZE + k, mask=k < GROUP_SIZE, other=1)
        share = tl.maximum(apart, 1).to(score.dtype) * (GROUP_SIZE - 1) / cells
        gain = (score - tl.load(scores + row)) / share
        total += tl.where(own != other[None, :], gain[:, None], 0.0)
    tl.store(advantages + places, total, mask=there)


def tile_of(num_maps: int) -> dict[str, int]:
    """The constants that K decides."""
    side = padded(num_maps)
    return {"GROUP_SIZE": num_maps, "PADDED": side, "BLOCK": min(block_beside(side), 256)}


def pairwise_spatial_difference_triton(scores: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """The advantages by counting differences first; as `pairwise_spatial_difference`."""
    images, group_size, cells = maps.shape
    advantages = scores.new_empty(maps.shape)
    differing = maps.new_empty(images, group_size, group_size, dtype=torch.int32)
    constants = tile_of(group_size)
    launch(count_differences, (images * group_size,), maps, differing, cells, **constants)
    launch(
        share_differences,
        (images, triton.cdiv(cells, constants["BLOCK"])),
        *(scores, maps, differing, advantages, cells),
        **constants,
    )
    return advantages
