"""Means over every scale's cells, and the gradient: the CUDA backend of `pool_cells`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import launch
from rss_env.kernels.triton.scales import range_of, value_at

BLOCK = 256  # cells, or pixels, of a program


@triton.jit
def average_pixels(
    values,  # (B, C, H, W) floating point
    mirrored,  # (B,) bool
    result,  # (B, C, P) floating point; written
    pixels,  # H * W
    width,
    cells,
    num_classes,
    SIDES: tl.constexpr,  # S: sides of the cells, in pixels
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    BLOCK: tl.constexpr,
):
    """Average the pixels of a block of cells of one class and scale."""
    n, scale = tl.program_id(0).to(tl.int64), tl.program_id(1)
    flip = tl.load(mirrored + n // num_classes)
    start, stop = range_of(scale, OFFSETS)
    side = value_at(scale, SIDES)
    first, count = tl.program_id(2) * BLOCK, stop - start
    p = first + tl.arange(0, BLOCK)
    inside, columns = p < count, width // side
    corner = values + n * pixels + p // columns * side * width
    left = p % columns * side
    sums = tl.zeros((BLOCK,), result.dtype.element_ty)
    for i in range(tl.where(first < count, side * side, 0)):  # coarse scales have fewer blocks
        x = left + i % side
        x = tl.where(flip, width - 1 - x, x)
        sums += tl.load(corner + i // side * width + x, mask=inside, other=0.0)
    tl.store(result + n * cells + start + p, sums / (side * side), mask=inside)


@triton.jit
def spread_means(
    gradient,  # (B, C, P) floating point
    mirrored,  # (B,) bool
    result,  # (B, C, H, W) floating point; written
    pixels,  # H * W
    width,
    cells,
    num_classes,
    SIDES: tl.constexpr,  # S
    OFFSETS: tl.constexpr,  # S + 1
    BLOCK: tl.constexpr,
):
    """Give a block of pixels of one class its share in the gradient of all cells they are in."""
    n = tl.program_id(0).to(tl.int64)
    flip = tl.load(mirrored + n // num_classes)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, y, x = p < pixels, p // width, p % width
    x = tl.where(flip, width - 1 - x, x)
    total = tl.zeros((BLOCK,), result.dtype.element_ty)
    for s in tl.static_range(len(SIDES)):
        cell = OFFSETS[s] + y // SIDES[s] * (width // SIDES[s]) + x // SIDES[s]
        part = tl.load(gradient + n * cells + cell, mask=inside, other=0.0)
        total += part / (SIDES[s] * SIDES[s])
    tl.store(result + n * pixels + p, total, mask=inside)


def pool_cells_triton(
    values: torch.Tensor, sides: Sequence[int], mirrored: torch.Tensor, offsets: Sequence[int]
) -> torch.Tensor:
    """Average each scale's cells by themselves; as `pool_cells`, with offsets of the scales."""
    batch, num_classes, height, width = values.shape
    result = values.new_empty(batch, num_classes, offsets[-1])
    largest = max(stop - start for start, stop in pairwise(offsets))
    launch(
        average_pixels,
        (batch * num_classes, len(sides), triton.cdiv(largest, BLOCK)),
        *(values, mirrored, result, height * width, width, offsets[-1], num_classes),
        SIDES=tuple(sides),
        OFFSETS=tuple(offsets),
        BLOCK=BLOCK,
    )
    return result


def pool_cells_gradient_triton(
    gradient: torch.Tensor,
    sides: Sequence[int],
    mirrored: torch.Tensor,
    offsets: Sequence[int],
    height: int,
    width: int,
) -> torch.Tensor:
    """The gradient (B, C, H, W) on the values, of one (B, C, cells) on the means."""
    batch, num_classes = gradient.shape[:2]
    result = gradient.new_empty(batch, num_classes, height, width)
    launch(
        spread_means,
        (batch * num_classes, triton.cdiv(height * width, BLOCK)),
        *(gradient, mirrored, result, height * width, width, offsets[-1], num_classes),
        SIDES=tuple(sides),
        OFFSETS=tuple(offsets),
        BLOCK=BLOCK,
    )
    return result
