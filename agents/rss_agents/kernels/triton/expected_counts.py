"""Expected true positives of maps at every scale, and the gradient: the CUDA backend."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded
from rss_env.kernels.triton.scales import range_of, scale_of


@triton.jit
def expect_counts(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, N, P) uint8, or a table (R, P)
    rows,  # (B, N) int64, if the maps lie in a table
    places,  # (B, M) int64, if cells are sampled
    counts,  # (B, M) floating point, likewise
    right,  # (B, N, S, C) floating point; written
    num_maps,
    cells,
    sampled,  # M
    num_classes,
    IN_TABLE: tl.constexpr,
    SAMPLED: tl.constexpr,
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin, or those of the sample
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up the probabilities of what a map says, class by class, at one scale."""
    n, scale = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = range_of(scale, OFFSETS)
    b, row = n // num_maps, n
    if IN_TABLE:
        row = tl.load(rows + n)
    beliefs = probabilities + b * num_classes * cells
    classes = tl.arange(0, CLASSES)
    sums = tl.zeros((BLOCK, CLASSES), probabilities.dtype.element_ty)
    for first in range(start, stop, BLOCK):
        p = first + tl.arange(0, BLOCK)
        cell = p
        if SAMPLED:
            cell = tl.load(places + b * sampled + p, mask=p < stop, other=0)
        choice = tl.load(maps + row * cells + cell, mask=p < stop, other=255).to(tl.int32)
        known = (p < stop) & (choice < num_classes)
        hit = tl.load(beliefs + choice * cells + cell, mask=known, other=0.0)
        if SAMPLED:
            hit *= tl.load(counts + b * sampled + p, mask=p < stop, other=0.0)
        sums += tl.where(choice[:, None] == classes[None, :], hit[:, None], 0.0)
    target = right + (n * (len(OFFSETS) - 1) + scale) * num_classes + classes
    tl.store(target, tl.sum(sums, 0), mask=classes < num_classes)


@triton.jit
def expect_labels(
    probabilities,  # (B, C, P) floating point
    places,  # (B, M) int64, if cells are sampled
    counts,  # (B, M) floating point, likewise
    labelled,  # (B, S, C) floating point; written
    cells,
    sampled,  # M
    num_classes,
    SAMPLED: tl.constexpr,
    OFFSETS: tl.constexpr,  # S + 1
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up the probabilities of an image's classes at one scale."""
    b, scale = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = range_of(scale, OFFSETS)
    classes = tl.arange(0, CLASSES)
    beliefs = probabilities + (b * num_classes + classes[:, None]) * cells
    sums = tl.zeros((CLASSES, BLOCK), probabilities.dtype.element_ty)
    for first in range(start, stop, BLOCK):
        p = first + tl.arange(0, BLOCK)
        cell = p
        if SAMPLED:
            cell = tl.load(places + b * sampled + p, mask=p < stop, other=0)
        known = (classes < num_classes)[:, None] & (p < stop)[None, :]
        rate = tl.load(beliefs + cell[None, :], mask=known, other=0.0)
        if SAMPLED:
            rate *= tl.load(counts + b * sampled + p, mask=p < stop, other=0.0)[None, :]
        sums += rate
    target = labelled + (b * (len(OFFSETS) - 1) + scale) * num_classes + classes
    tl.store(target, tl.sum(sums, 1), mask=classes < num_classes)


@triton.jit
def spread_gradient(
    gradient,  # (B, N, S, C) floating point, on `right`
    label_gradient,  # (B, S, C) floating point, on `labelled`
    maps,  # (B, N, P) uint8, or a table (R, P)
    rows,  # (B, N) int64, if the maps lie in a table
    result,  # (B, C, P) floating point; written
    num_maps,
    cells,
    num_classes,
    IN_TABLE: tl.constexpr,
    OFFSETS: tl.constexpr,  # S + 1
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Give a block of an image's cells the gradient of all counts they are in."""
    b = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, scale = p < cells, scale_of(p, OFFSETS)
    classes = tl.arange(0, CLASSES)[:, None]
    stored = (classes < num_classes) & inside[None, :]
    of_label = (b * (len(OFFSETS) - 1) + scale)[None, :] * num_classes + classes
    sums = tl.load(label_gradient + of_label, mask=stored, other=0.0)
    for k in range(num_maps):
        n = b * num_maps + k
        row = n
        if IN_TABLE:
            row = tl.load(rows + n)
        choice = tl.load(maps + row * cells + p, mask=inside, other=255).to(tl.int32)
        source = gradient + (n * (len(OFFSETS) - 1) + scale) * num_classes + choice
        slope = tl.load(source, mask=inside & (choice < num_classes), other=0.0)
        sums += tl.where(classes == choice[None, :], slope[None, :], 0.0)
    target = result + (b * num_classes + classes) * cells + p[None, :]
    tl.store(target, sums, mask=stored)


def tile_of(num_classes: int) -> dict[str, int]:
    """The constants that C decides."""
    side = padded(num_classes)
    return {"CLASSES": side, "BLOCK": min(block_beside(side), 256)}


def expected_counts_triton(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    rows: torch.Tensor | None = None,
    sample: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Expected true positives of every scale, by comparing tiles of cells with all classes.

    Args:
        probabilities: (B, C, cells) floating point.
        maps: (B, N, cells) uint8, flat actions; or a table (R, cells).
        offsets: S + 1 integers, where each scale's cells begin; the last is their number.
        rows: (B, N) int64 of the table; None without one.
        sample: Cells (B, M) int64 that stand for all, and how many each stands for, (B, M) floating
            point; offsets are then places among these. None: all cells.

    Returns:
        (B, N, S, C) and of the labels (B, S, C), of the probabilities' type; without gradient.
    """
    batch, num_classes, cells = probabilities.shape
    num_maps, num_scales = maps.shape[1] if rows is None else rows.shape[1], len(offsets) - 1
    right = probabilities.new_empty(batch, num_maps, num_scales, num_classes)
    labelled = probabilities.new_empty(batch, num_scales, num_classes)
    places, counts = (maps, maps) if sample is None else sample
    sizes = (cells, offsets[-1], num_classes)
    launch(
        expect_counts,
        (batch * num_maps, num_scales),
        *(probabilities, maps, maps if rows is None else rows, places, counts, right),
        *(num_maps, *sizes),
        IN_TABLE=rows is not None,
        SAMPLED=sample is not None,
        OFFSETS=tuple(offsets),
        **tile_of(num_classes),
    )
    launch(
        expect_labels,
        (batch, num_scales),
        *(probabilities, places, counts, labelled, *sizes),
        SAMPLED=sample is not None,
        OFFSETS=tuple(offsets),
        **tile_of(num_classes),
    )
    return right, labelled


def expected_counts_gradient_triton(
    gradient: torch.Tensor,
    label_gradient: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    rows: torch.Tensor | None = None,
) -> torch.Tensor:
    """The gradient (B, C, cells) of one (B, N, S, C) on the counts and one (B, S, C) on labels'."""
    batch, num_maps, _, num_classes = gradient.shape
    cells = offsets[-1]
    result = gradient.new_empty(batch, num_classes, cells)
    constants = tile_of(num_classes)
    launch(
        spread_gradient,
        (batch, triton.cdiv(cells, constants["BLOCK"])),
        *(gradient, label_gradient, maps, maps if rows is None else rows, result),
        *(num_maps, cells, num_classes),
        IN_TABLE=rows is not None,
        OFFSETS=tuple(offsets),
        **constants,
    )
    return result
