"""Expected true positives of action maps at each scale and class, if labels follow probabilities.

The counts that `class_counts` takes from labels, in expectation over them; differentiable, with the
gradient written directly. All scales of flat action maps are counted in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch

from rss_agents.kernels.lane_sums import PARTS, sum_of_halves, sum_of_parts
from rss_agents.kernels.map_rows import as_table, batch_shape, gather_maps
from rss_env.arrays import layout
from rss_env.compiled import compiled
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


def expected_counts_reference(
    probabilities: torch.Tensor, maps: torch.Tensor, offsets: Sequence[int]
) -> torch.Tensor:
    """The counts by gathering and scattering, one scale after another."""
    counts = []
    for start, stop in pairwise(offsets):
        index = maps[..., start:stop].long()
        zeros = probabilities.new_zeros(*maps.shape[:2], probabilities.shape[1])
        chosen = probabilities[..., start:stop].gather(1, index)
        counts.append(zeros.scatter_add(2, index, chosen))
    return torch.stack(counts, 2)


# Up to so many classes, comparing all cells with each class, as vectors, is faster than looking up
# each cell's own: for 6 classes 0.9 instead of 1.5 ms, and backward 0.9 instead of 2.1 ms.
_FEW_CLASSES, _FEW_CLASSES_BACKWARD = 10, 14
# Cells at a time, so that what is read again for every map stays in the cache: many if they are
# read in order, so that maps are too.
_LARGE, _SMALL = 4096, 512
_VECTOR = 8
_LANES = PARTS * _VECTOR  # of a sum; see `lane_sums`


@compiled()
def _sum_with_rest(
    lanes,  # (_LANES,) floating point, sums over whole rounds of lanes; changed
    first,  # cell behind them
    rates,  # (n,) floating point
    own,  # (n,) uint8
    c,
):
    """The lanes' sum, and the rates of the class in the cells behind: by vectors, then singly."""
    zero = rates.dtype.type(0)
    total, n = sum_of_parts(lanes, _VECTOR), len(rates)
    if n - first >= _VECTOR:
        lanes[:_VECTOR] = 0
        lanes[0] = total
        for q in range(first, n - _VECTOR + 1, _VECTOR):
            for j in range(_VECTOR):
                lanes[j] += rates[q + j] if own[q + j] == np.uint8(c) else zero
        total = sum_of_halves(lanes, _VECTOR)
    for q in range(n // _VECTOR * _VECTOR, n):
        total += rates[q] if own[q] == np.uint8(c) else zero
    return total


@BatchLoop
def _count(
    probabilities,  # (B, C, cells) floating point
    maps,  # (R, cells) uint8
    rows,  # (B, N) int64
    offsets,  # (S + 1,) int64
    counts,  # (B, N, S, C) floating point, zeros; written
):
    images, num_maps = rows.shape
    classes = probabilities.shape[1]
    zero = probabilities.dtype.type(0)
    few = classes <= _FEW_CLASSES
    size = _LARGE if few else _SMALL
    for b in numba.prange(images):
        tile = np.empty((_SMALL, classes), probabilities.dtype)
        lanes = np.empty((4, _LANES), probabilities.dtype)  # of each of four maps
        lanes0, lanes1, lanes2, lanes3 = lanes[0], lanes[1], lanes[2], lanes[3]
        for s in range(offsets.size - 1):
            for start in range(offsets[s], offsets[s + 1], size):
                stop = min(start + size, offsets[s + 1])
                if not few:
                    for c in range(classes):
                        for q in range(stop - start):
                            tile[q, c] = probabilities[b, c, start + q]
                # Four maps at once: what is read for one serves all.
                for k in range(0, num_maps - 3, 4):
                    counts0, counts1 = counts[b, k, s], counts[b, k + 1, s]
                    counts2, counts3 = counts[b, k + 2, s], counts[b, k + 3, s]
                    map0, map1 = maps[rows[b, k], start:stop], maps[rows[b, k + 1], start:stop]
                    map2, map3 = maps[rows[b, k + 2], start:stop], maps[rows[b, k + 3], start:stop]
                    if few:
                        rounds = (stop - start) // _LANES * _LANES
                        for c in range(classes):
                            rates = probabilities[b, c, start:stop]
                            lanes[:] = 0
                            for q in range(0, rounds, _LANES):
                                for j in range(_LANES):
                                    rate, i = rates[q + j], q + j
                                    lanes0[j] += rate if map0[i] == np.uint8(c) else zero
                                    lanes1[j] += rate if map1[i] == np.uint8(c) else zero
                                    lanes2[j] += rate if map2[i] == np.uint8(c) else zero
                                    lanes3[j] += rate if map3[i] == np.uint8(c) else zero
                            counts0[c] += _sum_with_rest(lanes0, rounds, rates, map0, c)
                            counts1[c] += _sum_with_rest(lanes1, rounds, rates, map1, c)
                            counts2[c] += _sum_with_rest(lanes2, rounds, rates, map2, c)
                            counts3[c] += _sum_with_rest(lanes3, rounds, rates, map3, c)
                        continue
                    for q in range(stop - start):
                        row = tile[q]
                        counts0[map0[q]] += row[map0[q]]
                        counts1[map1[q]] += row[map1[q]]
                        counts2[map2[q]] += row[map2[q]]
                        counts3[map3[q]] += row[map3[q]]
                for k in range(num_maps // 4 * 4, num_maps):
                    own = maps[rows[b, k], start:stop]
                    for q in range(stop - start):
                        counts[b, k, s, own[q]] += probabilities[b, own[q], start + q]


@BatchLoop
def _count_backward(
    gradient,  # (B, N, S, C) floating point, on the counts
    label_gradient,  # (B, S, C) floating point, on the counts of labels
    maps,  # (R, cells) uint8
    rows,  # (B, N) int64
    offsets,  # (S + 1,) int64
    result,  # (B, C, cells) floating point; written
):
    images, num_maps = rows.shape
    classes = gradient.shape[3]
    zero = gradient.dtype.type(0)
    size = _LARGE if classes <= _FEW_CLASSES_BACKWARD else _SMALL
    for b in numba.prange(images):
        for s in range(offsets.size - 1):
            for start in range(offsets[s], offsets[s + 1], size):
                stop = min(start + size, offsets[s + 1])
                for c in range(classes):
                    result[b, c, start:stop] = label_gradient[b, s, c]
                if classes > _FEW_CLASSES_BACKWARD:
                    for k in range(num_maps):
                        own, slopes = maps[rows[b, k], start:stop], gradient[b, k, s]
                        for q in range(stop - start):
                            result[b, own[q], start + q] += slopes[own[q]]
                    continue
                # Four maps for each time that a sum is moved.
                for k in range(0, num_maps - 3, 4):
                    map0, map1 = maps[rows[b, k], start:stop], maps[rows[b, k + 1], start:stop]
                    map2, map3 = maps[rows[b, k + 2], start:stop], maps[rows[b, k + 3], start:stop]
                    for c in range(classes):
                        total = result[b, c, start:stop]
                        slope0, slope1 = gradient[b, k, s, c], gradient[b, k + 1, s, c]
                        slope2, slope3 = gradient[b, k + 2, s, c], gradient[b, k + 3, s, c]
                        for q in range(stop - start):
                            total[q] += (
                                (slope0 if map0[q] == np.uint8(c) else zero)
                                + (slope1 if map1[q] == np.uint8(c) else zero)
                                + (slope2 if map2[q] == np.uint8(c) else zero)
                                + (slope3 if map3[q] == np.uint8(c) else zero)
                            )
                for k in range(num_maps // 4 * 4, num_maps):
                    own = maps[rows[b, k], start:stop]
                    for q in range(stop - start):
                        result[b, own[q], start + q] += gradient[b, k, s, own[q]]


def _empty_counts(
    probabilities, maps, offsets: Sequence[int], rows=None, **_
) -> tuple[torch.Tensor, torch.Tensor]:
    size = (len(offsets) - 1, probabilities.shape[1])
    counts = probabilities.new_empty(*batch_shape(maps, rows), *size)
    return counts, probabilities.new_empty(len(counts), *size)


@traceable("expected_counts", _empty_counts)
def _forward(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    rows: torch.Tensor | None = None,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts (B, N, S, C), and those of the label (B, S, C)."""
    if choose(backend, maps, COMPILED) == "triton":
        from rss_agents.kernels.triton.expected_counts import expected_counts_triton

        return expected_counts_triton(probabilities, maps, offsets, rows)
    counts = torch.zeros_like(_empty_counts(probabilities, maps, offsets, rows)[0])
    table, rows = as_table(maps, rows)
    _count(len(counts), probabilities, table, rows, layout(offsets), counts)
    return counts, label_counts(probabilities, offsets)


def _empty_gradient(
    gradient, label_gradient, maps, offsets: Sequence[int], *_, **__
) -> torch.Tensor:
    return gradient.new_empty(len(gradient), gradient.shape[3], maps.shape[-1])


@traceable("expected_counts_backward", _empty_gradient)
def _backward(
    gradient: torch.Tensor,
    label_gradient: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    rows: torch.Tensor | None = None,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """The gradient (B, C, cells) of one (B, N, S, C) on counts and one (B, S, C) on the label's."""
    if choose(backend, maps, COMPILED) == "triton":
        from rss_agents.kernels.triton.expected_counts import expected_counts_gradient_triton

        return expected_counts_gradient_triton(gradient, label_gradient, maps, offsets, rows)
    result = _empty_gradient(gradient, label_gradient, maps, offsets)
    table, rows = as_table(maps, rows)
    scales = layout(offsets)
    _count_backward(len(gradient), gradient, label_gradient, table, rows, scales, result)
    return result


class _ExpectedCounts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        probabilities: torch.Tensor,
        maps: torch.Tensor,
        offsets: tuple[int, ...],
        rows: torch.Tensor | None,
        backend: str,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(maps, rows)
        ctx.offsets, ctx.backend = offsets, backend
        return _forward(probabilities, maps, offsets, rows, backend=backend)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps, rows = ctx.saved_tensors
        on_counts, on_labels = gradients
        found = _backward(on_counts, on_labels, maps, ctx.offsets, rows, backend=ctx.backend)
        return found, None, None, None, None


def label_counts(probabilities: torch.Tensor, offsets: Sequence[int]) -> torch.Tensor:
    """Expected cells of every class in the label (B, S, C), of probabilities (B, C, cells)."""
    sizes = [stop - start for start, stop in pairwise(offsets)]
    return torch.stack([part.sum(2) for part in probabilities.split(sizes, 2)], 1)


def expected_and_label_counts(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    rows: torch.Tensor | None = None,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Expected true positives of every class at every scale, and expected cells in the label.

    Args:
        probabilities: (B, C, cells) floating point, of each cell's pixels, summing to 1 over C.
        maps: (B, N, cells) uint8, flat actions with classes below C; or a table (R, cells).
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        rows: (B, N) int64 of the table; None without one.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, N, S, C) and (B, S, C) of the probabilities' type, in cells; both differentiable in the
        probabilities, with one gradient written for both.
    """
    backend = choose(backend, maps, COMPILED)
    if backend == "reference":
        counts = expected_counts_reference(probabilities, gather_maps(maps, rows), offsets)
        return counts, label_counts(probabilities, offsets)
    return _ExpectedCounts.apply(  # pyright: ignore[reportReturnType]
        probabilities, maps, tuple(offsets), rows, backend
    )


def expected_counts(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    rows: torch.Tensor | None = None,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Expected true positives (B, N, S, C) alone; see `expected_and_label_counts`."""
    return expected_and_label_counts(probabilities, maps, offsets, rows, backend=backend)[0]
