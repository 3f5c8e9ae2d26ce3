"""Covariance of functions of an unknown label map: the CUDA backend of `label_covariance`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import triton
import triton.language as tl

from rss_agents.kernels.expected_counts import label_counts
from rss_agents.kernels.triton.expected_counts import expected_counts_triton
from rss_env.kernels.triton.launching import launch

ROW = 256  # cells of a program that weighs them
SIDE = 32  # maps of a tile
CHUNK = 256  # cells of a program that adds them up
AT_ONCE = 2  # of them, so that loads overlap


@triton.jit
def weigh_cells(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, N, P) uint8
    hit_weights,  # (B, N, S, C) floating point
    class_weights,  # (B, N, S, C) floating point
    means,  # (B, P, N) floating point; written: the root of a cell's count times its mean
    roots,  # (B, P, N) floating point; written: weight of a hit times the root of its probability
    turned,  # (B, P, N) uint8; written: the maps
    num_maps,
    cells,
    num_classes,
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    BLOCK: tl.constexpr,
):
    """Work out what a block of a map's cells gives, by itself."""
    n = tl.program_id(0).to(tl.int64)
    b = n // num_maps
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < cells
    scale = tl.zeros((BLOCK,), tl.int32)
    for s in tl.static_range(1, len(OFFSETS) - 1):
        scale += (p >= OFFSETS[s]).to(tl.int32)
    weights = (n * (len(OFFSETS) - 1) + scale) * num_classes
    beliefs = probabilities + b * num_classes * cells + p
    choice = tl.load(maps + n * cells + p, mask=inside, other=0)
    c = choice.to(tl.int32)
    rate = tl.load(beliefs + c * cells, mask=inside, other=0.0)
    weight = tl.load(hit_weights + weights + c, mask=inside, other=0.0)
    mean, total = weight * rate, tl.zeros((BLOCK,), rate.dtype)
    for other in range(num_classes):
        everywhere = tl.load(class_weights + weights + other, mask=inside, other=0.0)
        other_rate = tl.load(beliefs + other * cells, mask=inside, other=0.0)
        mean += everywhere * other_rate
        total += other_rate
    place = (b * cells + p) * num_maps + n % num_maps
    tl.store(means + place, mean / tl.sqrt(total), mask=inside)
    tl.store(roots + place, weight * tl.sqrt(rate), mask=inside)
    tl.store(turned + place, choice, mask=inside)


@triton.jit
def add_products(
    means,  # (B, P, N) floating point
    roots,  # (B, P, N) floating point
    turned,  # (B, P, N) uint8
    parts,  # (B, S, T, N, N) floating point; written: sums over each of T parts of the cells
    num_maps,
    cells,
    num_parts,
    tiles,  # along a side of (N, N)
    OFFSETS: tl.constexpr,  # S + 1
    SIDE: tl.constexpr,
    CHUNK: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    """Add up, over a chunk of cells, what two sets of maps hit together less their means."""
    image_and_scale, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    b = image_and_scale // (len(OFFSETS) - 1)
    scale = image_and_scale % (len(OFFSETS) - 1)
    start, stop = 0, 0
    for s in tl.static_range(len(OFFSETS) - 1):
        start = tl.where(scale == s, OFFSETS[s], start)
        stop = tl.where(scale == s, OFFSETS[s + 1], stop)
    start += part * CHUNK
    stop = tl.minimum(stop, start + CHUNK)
    k = tl.program_id(2) // tiles * SIDE + tl.arange(0, SIDE)
    j = tl.program_id(2) % tiles * SIDE + tl.arange(0, SIDE)
    sums = tl.zeros((SIDE, SIDE), roots.dtype.element_ty)
    for first in range(start, stop, AT_ONCE):
        for step in tl.static_range(AT_ONCE):
            p = first + step
            row = (b * cells + p) * num_maps
            has_k, has_j = (k < num_maps) & (p < stop), (j < num_maps) & (p < stop)
            one = tl.load(turned + row + k, mask=has_k, other=0)[:, None]
            other = tl.load(turned + row + j, mask=has_j, other=0)[None, :]
            root_k = tl.load(roots + row + k, mask=has_k, other=0.0)[:, None]
            root_j = tl.load(roots + row + j, mask=has_j, other=0.0)[None, :]
            mean_k = tl.load(means + row + k, mask=has_k, other=0.0)[:, None]
            mean_j = tl.load(means + row + j, mask=has_j, other=0.0)[None, :]
            sums += tl.where(one == other, root_k * root_j, 0.0) - mean_k * mean_j
    row = ((image_and_scale * num_parts + part) * num_maps + k[:, None]) * num_maps
    tl.store(parts + row + j[None, :], sums, mask=(k < num_maps)[:, None] & (j < num_maps)[None, :])


def label_covariance_triton(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    offsets: Sequence[int],
) -> torch.Tensor:
    """The covariance from products of what cells give, and of counts; as `label_covariance`."""
    batch, num_maps, cells = maps.shape
    num_scales, num_classes = len(offsets) - 1, probabilities.shape[1]
    sizes = [stop - start for start, stop in pairwise(offsets)]
    means = probabilities.new_empty(batch, cells, num_maps)
    roots, turned = torch.empty_like(means), torch.empty_like(means, dtype=torch.uint8)
    launch(
        weigh_cells,
        (batch * num_maps, triton.cdiv(cells, ROW)),
        *(probabilities, maps, hit_weights, class_weights, means, roots, turned),
        *(num_maps, cells, num_classes),
        OFFSETS=tuple(offsets),
        BLOCK=ROW,
    )
    num_parts, tiles = triton.cdiv(max(sizes), CHUNK), triton.cdiv(num_maps, SIDE)
    parts = probabilities.new_empty(batch, num_scales, num_parts, num_maps, num_maps)
    launch(
        add_products,
        (batch * num_scales, num_parts, tiles * tiles),
        *(means, roots, turned, parts, num_maps, cells, num_parts, tiles),
        OFFSETS=tuple(offsets),
        SIDE=SIDE,
        CHUNK=CHUNK,
        AT_ONCE=AT_ONCE,
    )
    # What the class weights share with the hits, and among themselves, is a matter of counts.
    hits = (expected_counts_triton(probabilities, maps, offsets) * hit_weights).transpose(1, 2)
    labelled = label_counts(probabilities, offsets)
    everywhere = class_weights.transpose(1, 2)
    shared = (hits + 0.5 * labelled[:, :, None] * everywhere) @ everywhere.mT
    return parts.sum(2) + shared + shared.mT
