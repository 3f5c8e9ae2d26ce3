"""Values of every scale's cells from those of pixels, in the order of flat action maps.

Differentiable, with the gradient written directly. Values and their gradient lie in memory as
torch's softmax gives and takes them, the pixels of a class beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F

from rss_env.kernels.dispatch import BatchLoop, choose, layout, traceable


def pool_cells_reference(
    values: torch.Tensor, sides: Sequence[int], mirrored: torch.Tensor | None
) -> torch.Tensor:
    """The means by average pooling, fine to coarse: each from the one before where it divides."""
    if mirrored is not None:
        values = torch.where(mirrored.view(-1, 1, 1, 1), values.flip(3), values)
    pooled: list[torch.Tensor] = []
    finer, finer_side = values, 1
    for side in reversed(sides):
        if side % finer_side:
            finer, finer_side = values, 1
        finer = F.avg_pool2d(finer, side // finer_side) if side != finer_side else finer
        finer_side = side
        pooled.insert(0, finer.flatten(2))
    return torch.cat(pooled, 2)


@numba.njit(cache=True)
def _sources(sides):
    """Of each scale, the finer one that its sums are made of, and how many of its values go in one.

    It is the next, if that divides the scale; otherwise the pixels, which are the last, at S.
    """
    count = len(sides)
    found, ratios = np.full(count, count), sides.copy()
    for s in range(count - 1):
        if sides[s] % sides[s + 1] == 0:
            found[s] = s + 1
            ratios[s] = sides[s] // sides[s + 1]
    return found, ratios


@BatchLoop
def _pool(
    values,  # (B, C, H, W) floating point
    sides,  # (S,) int64, of the cells in pixels, coarse to fine
    offsets,  # (S + 1,) int64, where each scale starts
    mirrored,  # (B,) bool
    result,  # (B, C, cells) floating point; written
):
    images, classes, height, width = values.shape
    count, (sources, ratios) = len(sides), _sources(sides)
    for b in numba.prange(images):
        # Sums of the pixels of a row, of each scale; the pixels themselves last.
        sums = np.empty((count + 1, width), values.dtype)
        for c in range(classes):
            for y in range(height):
                pixels = values[b, c, y]
                if mirrored[b]:
                    pixels = pixels[::-1]
                sums[count] = pixels
                for s in range(count - 1, -1, -1):
                    side, ratio = sides[s], ratios[s]
                    columns, share = width // side, values.dtype.type(1 / (side * side))
                    first = offsets[s] + y // side * columns
                    finer, own = sums[sources[s]], sums[s]
                    if ratio == 1:
                        own[:] = finer
                    elif ratio == 2:
                        for x in range(columns):
                            own[x] = finer[2 * x] + finer[2 * x + 1]
                    else:
                        for x in range(columns):
                            own[x] = finer[x * ratio]
                            for i in range(x * ratio + 1, (x + 1) * ratio):
                                own[x] += finer[i]
                    cells = result[b, c, first : first + columns]
                    if y % side == 0:
                        cells[:] = 0
                    for x in range(columns):
                        cells[x] += own[x] * share


@BatchLoop
def _spread(
    gradient,  # (B, C, cells) floating point
    sides,  # (S,) int64, of the cells in pixels, coarse to fine
    offsets,  # (S + 1,) int64, where each scale starts
    mirrored,  # (B,) bool
    result,  # (B, C, H, W) floating point; written
):
    images, classes, height, width = result.shape
    count, (sources, ratios) = len(sides), _sources(sides)
    for b in numba.prange(images):
        # What is owed to a row by each scale and those made of its sums; the pixels' last.
        owed = np.empty((count + 1, width), result.dtype)
        for c in range(classes):
            for y in range(height):
                owed[:] = 0
                for s in range(count):
                    side, ratio = sides[s], ratios[s]
                    columns, share = width // side, result.dtype.type(1 / (side * side))
                    first = offsets[s] + y // side * columns
                    finer, own = owed[sources[s]], owed[s]
                    cells = gradient[b, c, first : first + columns]
                    for x in range(columns):
                        own[x] += cells[x] * share
                    if ratio == 1:
                        for x in range(columns):
                            finer[x] += own[x]
                    elif ratio == 2:
                        for x in range(columns):
                            finer[2 * x] += own[x]
                            finer[2 * x + 1] += own[x]
                    else:
                        for x in range(columns):
                            for i in range(x * ratio, (x + 1) * ratio):
                                finer[i] += own[x]
                if mirrored[b]:
                    result[b, c, y] = owed[count, ::-1]
                else:
                    result[b, c, y] = owed[count]


def _offsets(height: int, width: int, sides: Sequence[int]) -> list[int]:
    return [0, *accumulate((height // side) * (width // side) for side in sides)]


def _empty_cells(values, sides: Sequence[int], *_, **__) -> torch.Tensor:
    batch, classes, height, width = values.shape
    return values.new_empty(batch, classes, _offsets(height, width, sides)[-1])


@traceable("pool_cells", _empty_cells)
def _forward(values: torch.Tensor, sides: Sequence[int], mirrored: torch.Tensor) -> torch.Tensor:
    result = _empty_cells(values, sides)
    height, width = values.shape[2:]
    scales = (layout(sides), layout(_offsets(height, width, sides)))
    _pool(len(values), values, *scales, mirrored, result)
    return result


def _empty_values(gradient, sides: Sequence[int], mirrored, height: int, width: int):
    return gradient.new_empty(*gradient.shape[:2], height, width)


@traceable("pool_cells_backward", _empty_values)
def _backward(
    gradient: torch.Tensor,
    sides: Sequence[int],
    mirrored: torch.Tensor,
    height: int,
    width: int,
) -> torch.Tensor:
    """The gradient (B, C, H, W) on the values, of one (B, C, cells) on the means."""
    result = _empty_values(gradient, sides, mirrored, height, width)
    scales = (layout(sides), layout(_offsets(height, width, sides)))
    _spread(len(gradient), gradient, *scales, mirrored, result)
    return result


class _PoolCells(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, sides: tuple[int, ...], mirrored: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(mirrored)
        ctx.sides, ctx.size = sides, values.shape[2:]
        return _forward(values, sides, mirrored)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (mirrored,) = ctx.saved_tensors
        return _backward(gradients[0], ctx.sides, mirrored, *ctx.size), None, None


def pool_cells(
    values: torch.Tensor,
    scales: Sequence[int],
    stride: int = 1,
    mirrored: torch.Tensor | None = None,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Values of every scale's cells: the mean over each cell's pixels.

    Args:
        values: (B, C, H/stride, W/stride) floating point.
        scales: Cell sizes in pixels, coarse to fine, which divide H and W.
        stride: What the values are given at, in pixels; it divides every scale.
        mirrored: (B,) bool, which images are flipped horizontally first; None: none.
        implementation: `auto`, `reference` or `numba`.

    Returns:
        (B, C, cells), scale after scale as in flat actions; differentiable in the values.
    """
    sides = tuple(scale // stride for scale in scales)
    if choose(implementation, values) == "reference":
        return pool_cells_reference(values, sides, mirrored)
    if mirrored is None:
        mirrored = torch.zeros(len(values), dtype=torch.bool)
    return _PoolCells.apply(values, sides, mirrored)  # pyright: ignore[reportReturnType]
