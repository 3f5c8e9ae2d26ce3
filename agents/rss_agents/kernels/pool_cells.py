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

from rss_env.arrays import layout
from rss_env.compiled import compiled
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


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


# Unsigned indices are never below 0: loops over them become vectors. And no row is taken out of an
# array for its own sake, which would take longer than what is done with it.
_ONE, _TWO = np.uint64(1), np.uint64(2)


@compiled()
def _sources(sides):
    """The finer scale that each one is made of, and how many of its cells lie along a side.

    It is the next, if that divides the scale and is not the pixels themselves; otherwise the
    pixels, whose number is S.
    """
    count = len(sides)
    found, ratios = np.full(count, count), sides.copy()
    for s in range(count - 1):
        if sides[s] % sides[s + 1] == 0 and sides[s + 1] > 1:
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
    last = np.uint64(width - 1)
    for b in numba.prange(images):
        # Of each scale, a row of finer cells summed down, and of its own cells; pixels last.
        down = np.empty((count, width), values.dtype)
        sums = np.empty((count + 1, width), values.dtype)
        for c in range(classes):
            for y in range(height):
                if mirrored[b]:
                    for x in range(np.uint64(width)):
                        sums[count, x] = values[b, c, y, last - x]
                else:
                    for x in range(np.uint64(width)):
                        sums[count, x] = values[b, c, y, x]
                for s in range(count - 1, -1, -1):
                    side, ratio, source = sides[s], ratios[s], sources[s]
                    finer_side = sides[source] if source < count else 1
                    if (y + 1) % finer_side:
                        continue  # no row of these cells has ended
                    if ratio == 1:
                        first = np.uint64(offsets[s] + y * width)
                        for x in range(np.uint64(width)):
                            result[b, c, first + x] = sums[source, x]
                        continue
                    finer_columns = np.uint64(width // finer_side)
                    if y // finer_side % ratio == 0:
                        for x in range(finer_columns):
                            down[s, x] = sums[source, x]
                    else:
                        for x in range(finer_columns):
                            down[s, x] += sums[source, x]
                    if (y + 1) % side:
                        continue
                    columns = np.uint64(width // side)
                    if ratio == 2:
                        for x in range(columns):
                            sums[s, x] = down[s, _TWO * x] + down[s, _TWO * x + _ONE]
                    else:
                        for x in range(columns):
                            total = down[s, x * np.uint64(ratio)]
                            for i in range(1, ratio):
                                total += down[s, x * np.uint64(ratio) + np.uint64(i)]
                            sums[s, x] = total
                    share = values.dtype.type(1 / (side * side))
                    first = np.uint64(offsets[s] + y // side * (width // side))
                    for x in range(columns):
                        result[b, c, first + x] = sums[s, x] * share


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
    last = np.uint64(width - 1)
    for b in numba.prange(images):
        # The gradient of a row of each scale's cells on each of their pixels, and of the pixels.
        shares, pixels = np.empty((count, width), result.dtype), np.empty(width, result.dtype)
        for c in range(classes):
            for y in range(height):
                for s in range(count):
                    side = sides[s]
                    if y % side:
                        continue  # as in the row above
                    columns = np.uint64(width // side)
                    share = result.dtype.type(1 / (side * side))
                    first = np.uint64(offsets[s] + y // side * (width // side))
                    for x in range(columns):
                        shares[s, x] = gradient[b, c, first + x] * share
                    for coarser in range(s):
                        if sources[coarser] == s:
                            ratio = np.uint64(ratios[coarser])
                            for x in range(np.uint64(width // sides[coarser])):
                                for i in range(ratio):
                                    shares[s, x * ratio + i] += shares[coarser, x]
                for x in range(np.uint64(width)):
                    pixels[x] = 0
                for s in range(count):
                    if sources[s] != count:
                        continue
                    ratio, columns = np.uint64(ratios[s]), np.uint64(width // sides[s])
                    if ratio == _ONE:
                        for x in range(columns):
                            pixels[x] += shares[s, x]
                    elif ratio == _TWO:
                        for x in range(columns):
                            pixels[_TWO * x] += shares[s, x]
                            pixels[_TWO * x + _ONE] += shares[s, x]
                    else:
                        for x in range(columns):
                            for i in range(ratio):
                                pixels[x * ratio + i] += shares[s, x]
                if mirrored[b]:
                    for x in range(np.uint64(width)):
                        result[b, c, y, x] = pixels[last - x]
                else:
                    for x in range(np.uint64(width)):
                        result[b, c, y, x] = pixels[x]


def _offsets(height: int, width: int, sides: Sequence[int]) -> list[int]:
    return [0, *accumulate((height // side) * (width // side) for side in sides)]


def _empty_cells(values, sides: Sequence[int], *_, **__) -> torch.Tensor:
    batch, classes, height, width = values.shape
    return values.new_empty(batch, classes, _offsets(height, width, sides)[-1])


@traceable("pool_cells", _empty_cells)
def _forward(
    values: torch.Tensor,
    sides: Sequence[int],
    mirrored: torch.Tensor,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    height, width = values.shape[2:]
    offsets = _offsets(height, width, sides)
    if choose(backend, values, COMPILED) == "triton":
        from rss_agents.kernels.triton.pool_cells import pool_cells_triton

        return pool_cells_triton(values, sides, mirrored, offsets)
    result = _empty_cells(values, sides)
    _pool(len(values), values, layout(sides), layout(offsets), mirrored, result)
    return result


def _empty_values(gradient, sides: Sequence[int], mirrored, height: int, width: int, **_):
    return gradient.new_empty(*gradient.shape[:2], height, width)


@traceable("pool_cells_backward", _empty_values)
def _backward(
    gradient: torch.Tensor,
    sides: Sequence[int],
    mirrored: torch.Tensor,
    height: int,
    width: int,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """The gradient (B, C, H, W) on the values, of one (B, C, cells) on the means."""
    offsets = _offsets(height, width, sides)
    if choose(backend, gradient, COMPILED) == "triton":
        from rss_agents.kernels.triton.pool_cells import pool_cells_gradient_triton

        return pool_cells_gradient_triton(gradient, sides, mirrored, offsets, height, width)
    result = _empty_values(gradient, sides, mirrored, height, width)
    _spread(len(gradient), gradient, layout(sides), layout(offsets), mirrored, result)
    return result


class _PoolCells(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        sides: tuple[int, ...],
        mirrored: torch.Tensor,
        backend: str,
    ) -> torch.Tensor:
        ctx.save_for_backward(mirrored)
        ctx.sides, ctx.size, ctx.backend = sides, values.shape[2:], backend
        return _forward(values, sides, mirrored, backend=backend)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (mirrored,) = ctx.saved_tensors
        found = _SpreadCells.apply(gradients[0], ctx.sides, mirrored, *ctx.size, ctx.backend)
        return found, None, None, None  # pyright: ignore[reportReturnType]


class _SpreadCells(torch.autograd.Function):
    """The transpose of pooling, whose own gradient is pooling: curvature products need it."""

    @staticmethod
    def forward(
        ctx: Any,
        gradient: torch.Tensor,
        sides: tuple[int, ...],
        mirrored: torch.Tensor,
        height: int,
        width: int,
        backend: str,
    ) -> torch.Tensor:
        ctx.save_for_backward(mirrored)
        ctx.sides, ctx.backend = sides, backend
        return _backward(gradient, sides, mirrored, height, width, backend=backend)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (mirrored,) = ctx.saved_tensors
        found = _PoolCells.apply(gradients[0], ctx.sides, mirrored, ctx.backend)
        return found, None, None, None, None, None  # pyright: ignore[reportReturnType]


def pool_cells(
    values: torch.Tensor,
    scales: Sequence[int],
    stride: int = 1,
    mirrored: torch.Tensor | None = None,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Values of every scale's cells: the mean over each cell's pixels.

    Args:
        values: (B, C, H/stride, W/stride) floating point.
        scales: Cell sizes in pixels, coarse to fine, which divide H and W.
        stride: What the values are given at, in pixels; it divides every scale.
        mirrored: (B,) bool, which images are flipped horizontally first; None: none.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, C, cells), scale after scale as in flat actions; differentiable in the values.
    """
    sides = tuple(scale // stride for scale in scales)
    backend = choose(backend, values, COMPILED)
    if backend == "reference":
        return pool_cells_reference(values, sides, mirrored)
    if mirrored is None:
        mirrored = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    return _PoolCells.apply(values, sides, mirrored, backend)  # pyright: ignore[reportReturnType]
