"""Covariance of functions of an unknown label map: the CUDA backend of `label_covariance`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import triton
import triton.language as tl

from rss_agents.kernels.triton.expected_counts import expected_counts_triton
from rss_env.kernels.triton.launching import launch
from rss_env.kernels.triton.scales import range_of, scale_of

ROW = 256  # cells of a program that weighs them
SIDE = 32  # maps of a tile
CHUNK = 256  # cells of a program that adds them up
AT_ONCE = 2  # of them, so that loads overlap


@triton.jit
def weigh_cells(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, N, P) uint8, or a table (R, P)
    rows,  # (B, N) int64, if the maps lie in a table
    places,  # (B, M) int64, if cells are sampled
    counts,  # (B, M) floating point, likewise
    hit_weights,  # (B, N, S, C) floating point
    class_weights,  # (B, N, S, C) floating point
    means,  # (B, M, N) floating point; written: the root of a cell's count times its mean
    roots,  # (B, M, N) floating point; written: weight of a hit times the root of its probability
    turned,  # (B, M, N) uint8; written: the maps
    num_maps,
    cells,
    sampled,  # M
    num_classes,
    IN_TABLE: tl.constexpr,
    SAMPLED: tl.constexpr,
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    BLOCK: tl.constexpr,
):
    """Work out what a block of a map's cells gives, by itself."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    b, row, inside = n // num_maps, n, p < sampled
    if IN_TABLE:
        row = tl.load(rows + n)
    cell, count = p, tl.full((BLOCK,), 1.0, means.dtype.element_ty)
    if SAMPLED:
        cell = tl.load(places + b * sampled + p, mask=inside, other=0)
        count = tl.load(counts + b * sampled + p, mask=inside, other=1.0)
    weights = (n * (len(OFFSETS) - 1) + scale_of(p, OFFSETS)) * num_classes
    beliefs = probabilities + b * num_classes * cells + cell
    choice = tl.load(maps + row * cells + cell, mask=inside, other=0)
    c = choice.to(tl.int32)
    rate = tl.load(beliefs + c * cells, mask=inside, other=0.0) * count
    weight = tl.load(hit_weights + weights + c, mask=inside, other=0.0)
    mean, total = weight * rate, tl.zeros((BLOCK,), rate.dtype)
    for other in range(num_classes):
        everywhere = tl.load(class_weights + weights + other, mask=inside, other=0.0)
        other_rate = tl.load(beliefs + other * cells, mask=inside, other=0.0) * count
        mean += everywhere * other_rate
        total += other_rate
    place = (b * sampled + p) * num_maps + n % num_maps
    tl.store(means + place, mean / tl.sqrt(total), mask=inside)
    tl.store(roots + place, weight * tl.sqrt(rate), mask=inside)
    tl.store(turned + place, choice, mask=inside)


@triton.jit
def add_products(
    means,  # (B, M, N) floating point
    roots,  # (B, M, N) floating point
    turned,  # (B, M, N) uint8
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
    start, stop = range_of(scale, OFFSETS)
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


@triton.jit
def add_parts(
    parts,  # (B, S, T, N, N) floating point
    right,  # (B, N, S, C) floating point, expected counts of what the maps hit
    labelled,  # (B, S, C) floating point
    hit_weights,  # (B, N, S, C) floating point
    class_weights,  # (B, N, S, C) floating point
    result,  # (B, S, N, N) floating point; written
    num_maps,
    num_scales,
    num_parts,
    num_classes,
    tiles,  # along a side of (N, N)
    SIDE: tl.constexpr,
):
    """Add up a tile's parts, and what class weights share with hits and among themselves."""
    image_and_scale = tl.program_id(0).to(tl.int64)
    b, scale = image_and_scale // num_scales, image_and_scale % num_scales
    k = tl.program_id(1) // tiles * SIDE + tl.arange(0, SIDE)
    j = tl.program_id(1) % tiles * SIDE + tl.arange(0, SIDE)
    inside = (k < num_maps)[:, None] & (j < num_maps)[None, :]
    total = tl.zeros((SIDE, SIDE), result.dtype.element_ty)
    for part in range(num_parts):
        row = ((image_and_scale * num_parts + part) * num_maps + k[:, None]) * num_maps
        total += tl.load(parts + row + j[None, :], mask=inside, other=0.0)
    for c in range(num_classes):
        at_k = ((b * num_maps + k) * num_scales + scale) * num_classes + c
        at_j = ((b * num_maps + j) * num_scales + scale) * num_classes + c
        label = 0.5 * tl.load(labelled + image_and_scale * num_classes + c)
        hits_k = tl.load(right + at_k, mask=k < num_maps, other=0.0)
        hits_k *= tl.load(hit_weights + at_k, mask=k < num_maps, other=0.0)
        hits_j = tl.load(right + at_j, mask=j < num_maps, other=0.0)
        hits_j *= tl.load(hit_weights + at_j, mask=j < num_maps, other=0.0)
        own_k = tl.load(class_weights + at_k, mask=k < num_maps, other=0.0)
        own_j = tl.load(class_weights + at_j, mask=j < num_maps, other=0.0)
        shared_k, shared_j = hits_k + label * own_k, hits_j + label * own_j
        total += shared_k[:, None] * own_j[None, :] + own_k[:, None] * shared_j[None, :]
    row = (image_and_scale * num_maps + k[:, None]) * num_maps
    tl.store(result + row + j[None, :], total, mask=inside)


def label_covariance_triton(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    offsets: Sequence[int],
    rows: torch.Tensor | None = None,
    sample: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """The covariance from products of what cells give, and of counts; as `label_covariance`.

    A table's rows and sampled cells are as in `expected_counts_triton`.
    """
    batch, num_classes, cells = probabilities.shape
    num_maps, num_scales, size = hit_weights.shape[1], len(offsets) - 1, offsets[-1]
    means = probabilities.new_empty(batch, size, num_maps)
    roots, turned = torch.empty_like(means), torch.empty_like(means, dtype=torch.uint8)
    places, counts = (maps, maps) if sample is None else sample
    launch(
        weigh_cells,
        (batch * num_maps, triton.cdiv(size, ROW)),
        *(probabilities, maps, maps if rows is None else rows, places, counts),
        *(hit_weights, class_weights, means, roots, turned),
        *(num_maps, cells, size, num_classes),
        IN_TABLE=rows is not None,
        SAMPLED=sample is not None,
        OFFSETS=tuple(offsets),
        BLOCK=ROW,
    )
    largest = max(stop - start for start, stop in pairwise(offsets))
    num_parts, tiles = triton.cdiv(largest, CHUNK), triton.cdiv(num_maps, SIDE)
    parts = probabilities.new_empty(batch, num_scales, num_parts, num_maps, num_maps)
    launch(
        add_products,
        (batch * num_scales, num_parts, tiles * tiles),
        *(means, roots, turned, parts, num_maps, size, num_parts, tiles),
        OFFSETS=tuple(offsets),
        SIDE=SIDE,
        CHUNK=CHUNK,
        AT_ONCE=AT_ONCE,
    )
    right, labelled = expected_counts_triton(probabilities, maps, offsets, rows, sample)
    result = probabilities.new_empty(batch, num_scales, num_maps, num_maps)
    launch(
        add_parts,
        (batch * num_scales, tiles * tiles),
        *(parts, right, labelled, hit_weights, class_weights, result),
        *(num_maps, num_scales, num_parts, num_classes, tiles),
        SIDE=SIDE,
    )
    return result
