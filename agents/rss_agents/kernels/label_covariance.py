"""Covariance of linear functions of an unknown label map whose cells follow probabilities.

A score, linearised, weighs every cell of the label: by one weight where the label is the map's own
class, and by another for whatever class it is. The covariance of two maps' scores says how much of
what is learned from one is known from the other. Every scale is a label map of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise

import numba
import numpy as np
import torch

from rss_agents.kernels.map_rows import as_table, batch_shape, gather_cells, gather_maps
from rss_env.arrays import layout
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


def label_covariance_reference(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    offsets: Sequence[int],
) -> torch.Tensor:
    """The covariance from the weight of every map, class and cell, one scale after another."""
    found = []
    for s, (start, stop) in enumerate(pairwise(offsets)):
        own = maps[..., start:stop].long()
        chosen = torch.nn.functional.one_hot(own, probabilities.shape[1])  # (B, N, P, C)
        weights = chosen * hit_weights[:, :, s, None] + class_weights[:, :, s, None]
        rates = probabilities[:, None, :, start:stop].mT  # (B, 1, P, C)
        centred = weights - (weights * rates).sum(3, keepdim=True) / rates.sum(3, keepdim=True)
        found.append(torch.einsum("bnpc,bmpc->bnm", centred * rates, centred))
    return torch.stack(found, 1)


@functools.partial(BatchLoop, fused=True)
def _covariances(
    probabilities,  # (B, C, cells) floating point
    maps,  # (R, cells) uint8
    rows,  # (B, N) int64
    hit_weights,  # (B, N, S, C) floating point
    class_weights,  # (B, N, S, C) floating point
    offsets,  # (S + 1,) int64
    cells,  # (B, M) int64, or (0, 0) for all of them
    counts,  # (B, M) floating point, or (0, 0)
    result,  # (B, S, N, N) floating point; written
):
    images, num_maps = rows.shape
    classes, scales = probabilities.shape[1], offsets.size - 1
    width = (num_maps + 15) // 16 * 16  # whole vectors, also of the lower triangle's rows
    size = 32  # cells brought together, so that they stay in the cache
    zero = result.dtype.type(0)
    for n in numba.prange(images * scales):
        b, s = n // scales, n % scales
        rates = np.empty((size, classes), result.dtype)
        own = np.zeros((size, width), np.uint8)
        # What each map gives at four cells, times the root of their counts: on average, and where
        # the label is the map's class; the latter for the maps of each class, zeros for the others.
        means = np.zeros((4, width), result.dtype)
        alike = np.zeros((4, classes, width), result.dtype)
        sums = np.zeros((num_maps, width), result.dtype)
        hits = np.zeros((classes, width), result.dtype)
        labelled = np.zeros(classes, result.dtype)
        hit = np.zeros((classes, width), result.dtype)
        everywhere = np.zeros((classes, width), result.dtype)
        for c in range(classes):
            for k in range(num_maps):
                hit[c, k] = hit_weights[b, k, s, c]
                everywhere[c, k] = class_weights[b, k, s, c]
        for start in range(offsets[s], offsets[s + 1], size):
            count = min(size, offsets[s + 1] - start)
            if cells.size:
                places = cells[b, start : start + count]
                for q in range(count):
                    for c in range(classes):
                        rates[q, c] = probabilities[b, c, places[q]] * counts[b, start + q]
                for k in range(num_maps):
                    classes_of = maps[rows[b, k]]
                    for q in range(count):
                        own[q, k] = classes_of[places[q]]
            else:
                for c in range(classes):
                    for q in range(count):
                        rates[q, c] = probabilities[b, c, start + q]
                for k in range(num_maps):
                    classes_of = maps[rows[b, k], start : start + count]
                    for q in range(count):
                        own[q, k] = classes_of[q]
            for first in range(0, count, 4):  # four at once, as sums are what has to be moved
                for q in range(4):
                    mean = means[q]
                    mean[:] = 0
                    if first + q >= count:
                        alike[q] = 0
                        continue
                    rate, choice = rates[first + q], own[first + q]
                    unit = 1 / np.sqrt(rate.sum())
                    for c in range(classes):
                        labelled[c] += rate[c]
                        half, share, same = np.sqrt(rate[c]), rate[c] * unit, alike[q, c]
                        of_hit, of_class, total = hit[c], everywhere[c], hits[c]
                        for k in range(width):
                            weight = of_hit[k] if choice[k] == np.uint8(c) else zero
                            same[k] = weight * half
                            mean[k] += (of_class[k] + weight) * share
                            total[k] += weight * rate[c]
                mean0, mean1, mean2, mean3 = means[0], means[1], means[2], means[3]
                for k in range(num_maps):
                    alike0, alike1 = alike[0, own[first, k]], alike[1, own[first + 1, k]]
                    alike2, alike3 = alike[2, own[first + 2, k]], alike[3, own[first + 3, k]]
                    root0, root1, root2, root3 = alike0[k], alike1[k], alike2[k], alike3[k]
                    own0, own1, own2, own3 = mean0[k], mean1[k], mean2[k], mean3[k]
                    row = sums[k]
                    for j in range((k // 16 + 1) * 16):
                        apart = own0 * mean0[j]
                        apart += own1 * mean1[j]
                        apart += own2 * mean2[j]
                        apart += own3 * mean3[j]
                        shared = row[j] + root0 * alike0[j]
                        shared += root1 * alike1[j]
                        shared += root2 * alike2[j]
                        shared += root3 * alike3[j]
                        row[j] = shared - apart
        # What the class weights share with the hits, and among themselves, is a matter of counts.
        for k in range(num_maps):
            row = sums[k]
            for c in range(classes):
                one, hit_by_one = everywhere[c, k], hits[c, k]
                for j in range(k + 1):
                    other = everywhere[c, j]
                    row[j] += one * (hits[c, j] + labelled[c] * other) + hit_by_one * other
            for j in range(k + 1):
                result[b, s, k, j] = row[j]
                result[b, s, j, k] = row[j]


def _empty_covariance(
    probabilities, maps, hits, others, offsets, cells=None, counts=None, rows=None, **_
) -> torch.Tensor:
    images, num_maps = batch_shape(maps, rows)
    return probabilities.new_empty(images, len(offsets) - 1, num_maps, num_maps)


@traceable("label_covariance", _empty_covariance)
def label_covariance(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    offsets: Sequence[int],
    cells: torch.Tensor | None = None,
    counts: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Covariance of N linear functions of the label map of each scale, whose cells are independent.

    Function k is the sum over cells p of `hit_weights[k, z_p]` where the label z_p is the class of
    map k, plus `class_weights[k, z_p]` everywhere.

    Args:
        probabilities: (B, C, cells) floating point, summing over C to 1, or to the number of cells
            alike that a cell stands for; the sum must be positive.
        maps: (B, N, cells) uint8, classes below C; or a table (R, cells).
        hit_weights: (B, N, S, C) floating point.
        class_weights: (B, N, S, C) floating point.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        cells: (B, M) int64, cells that stand for all, scale after scale; None for all of them.
            Offsets are then places among these.
        counts: (B, M) floating point, how many cells each of them stands for; positive.
        rows: (B, N) int64 of the table; None without one.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, S, N, N) floating point, positive semi-definite up to rounding; not differentiable.
    """
    probabilities = probabilities.detach()
    hit_weights, class_weights = hit_weights.detach(), class_weights.detach()
    backend = choose(backend, maps, COMPILED)
    if backend == "reference":
        maps = gather_maps(maps, rows)
        if cells is not None and counts is not None:
            probabilities, maps = gather_cells(probabilities, maps, cells, counts)
        return label_covariance_reference(probabilities, maps, hit_weights, class_weights, offsets)
    if backend == "triton":
        from rss_agents.kernels.triton.label_covariance import label_covariance_triton

        sample = None if cells is None or counts is None else (cells, counts)
        weights = (hit_weights, class_weights)
        return label_covariance_triton(probabilities, maps, *weights, offsets, rows, sample)
    if cells is None or counts is None:
        cells, counts = torch.empty(0, 0, dtype=torch.int64), probabilities.new_empty(0, 0)
    maps, rows = as_table(maps, rows)
    images, num_maps = rows.shape
    num_scales = len(offsets) - 1
    result = probabilities.new_empty(images, num_scales, num_maps, num_maps)
    _covariances(
        images * num_scales,
        probabilities,
        maps,
        rows,
        hit_weights,
        class_weights,
        layout(offsets),
        cells,
        counts,
        result,
    )
    return result
