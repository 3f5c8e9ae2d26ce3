"""Expected true positives of maps at every scale, and the gradient: the CUDA backend."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded


@triton.jit
def expect_counts(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, N, P) uint8
    right,  # (B, N, S, C) floating point; written
    num_maps,
    cells,
    num_classes,
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up the probabilities of what a map says, class by class, at one scale."""
    n, scale = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = 0, 0
    for s in tl.static_range(len(OFFSETS) - 1):
        start = tl.where(scale == s, OFFSETS[s], start)
        stop = tl.where(scale == s, OFFSETS[s + 1], stop)
    beliefs = probabilities + n // num_maps * num_classes * cells
    classes = tl.arange(0, CLASSES)
    sums = tl.zeros((BLOCK, CLASSES), probabilities.dtype.element_ty)
    for first in range(start, stop, BLOCK):
        p = first + tl.arange(0, BLOCK)
        choice = tl.load(maps + n * cells + p, mask=p < stop, other=255).to(tl.int32)
        known = (p < stop) & (choice < num_classes)
        hit = tl.load(beliefs + choice * cells + p, mask=known, other=0.0)
        sums += tl.where(choice[:, None] == classes[None, :], hit[:, None], 0.0)
    target = right + (n * (len(OFFSETS) - 1) + scale) * num_classes + classes
    tl.store(target, tl.sum(sums, 0), mask=classes < num_classes)


@triton.jit
def spread_gradient(
    gradient,  # (B, N, S, C) floating point, on `right`
    maps,  # (B, N, P) uint8
    result,  # (B, C, P) floating point; written
    num_maps,
    cells,
    num_classes,
    OFFSETS: tl.constexpr,  # S + 1
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Give a block of an image's cells the gradient of all counts they are in."""
    b = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < cells
    scale = tl.zeros((BLOCK,), tl.int32)
    for s in tl.static_range(1, len(OFFSETS) - 1):
        scale += (p >= OFFSETS[s]).to(tl.int32)
    classes = tl.arange(0, CLASSES)[:, None]
    sums = tl.zeros((CLASSES, BLOCK), gradient.dtype.element_ty)
    for k in range(num_maps):
        n = b * num_maps + k
        choice = tl.load(maps + n * cells + p, mask=inside, other=255).to(tl.int32)
        source = gradient + (n * (len(OFFSETS) - 1) + scale) * num_classes + choice
        slope = tl.load(source, mask=inside & (choice < num_classes), other=0.0)
        sums += tl.where(classes == choice[None, :], slope[None, :], 0.0)
    target = result + (b * num_classes + classes) * cells + p[None, :]
    tl.store(target, sums, mask=(classes < num_classes) & inside[None, :])


def tile_of(num_classes: int) -> dict[str, int]:
    """The constants that C decides."""
    side = padded(num_classes)
    return {"CLASSES": side, "BLOCK": min(block_beside(side), 256)}


def expected_counts_triton(
    probabilities: torch.Tensor, maps: torch.Tensor, offsets: Sequence[int]
) -> torch.Tensor:
    """Expected true positives of every scale, by comparing tiles of cells with all classes.

    Args:
        probabilities: (B, C, cells) floating point.
        maps: (B, N, cells) uint8, flat actions.
        offsets: S + 1 integers, where each scale's cells begin; the last is the number of cells.

    Returns:
        (B, N, S, C) of the probabilities' type, in cells; without gradient.
    """
    batch, num_maps, cells = maps.shape
    num_classes, num_scales = probabilities.shape[1], len(offsets) - 1
    right = probabilities.new_empty(batch, num_maps, num_scales, num_classes)
    launch(
        expect_counts,
        (batch * num_maps, num_scales),
        *(probabilities, maps, right, num_maps, cells, num_classes),
        OFFSETS=tuple(offsets),
        **tile_of(num_classes),
    )
    return right


def expected_counts_gradient_triton(
    gradient: torch.Tensor, maps: torch.Tensor, offsets: Sequence[int]
) -> torch.Tensor:
    """The gradient (B, C, cells) on the probabilities, of one (B, N, S, C) on the counts."""
    batch, num_maps, cells = maps.shape
    num_classes = gradient.shape[3]
    result = gradient.new_empty(batch, num_classes, cells)
    constants = tile_of(num_classes)
    launch(
        spread_gradient,
        (batch, triton.cdiv(cells, constants["BLOCK"])),
        *(gradient, maps, result, num_maps, cells, num_classes),
        OFFSETS=tuple(offsets),
        **constants,
    )
    return result
