"""How far linear functions of an unknown label map vary, alone and together with their group.

What `label_covariance` says of every pair, for less: the variance of each function, and of the
pairs of a group their mean covariance.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise

import numba
import numpy as np
import torch

from rss_env.kernels.dispatch import BatchLoop, choose, layout, traceable
from rss_env.kernels.label_covariance import centred_weights
from rss_env.kernels.map_rows import as_table, batch_shape, gather_cells, gather_maps


def label_variances_reference(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    offsets: Sequence[int],
    members: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """From the weight of every map, class and cell, and their sums over groups."""
    variances, levels = [], []
    for s, (start, stop) in enumerate(pairwise(offsets)):
        own = (probabilities[..., start:stop], maps[..., start:stop])
        centred, rates = centred_weights(*own, hit_weights[:, :, s], class_weights[:, :, s])
        each = (centred.square() * rates).sum((2, 3)).unflatten(1, (-1, members))
        together = centred.unflatten(1, (-1, members)).sum(2)  # (B, V, P, C)
        of_sum = (together.square() * rates).sum((2, 3))
        variances.append(each)
        levels.append((of_sum - each.sum(2)) / max(members * (members - 1), 1))
    return torch.stack(variances, 1), torch.stack(levels, 1)


@functools.partial(BatchLoop, fused=True)
def _vary(
    probabilities,  # (B, C, cells) floating point
    maps,  # (R, cells) uint8
    rows,  # (B, V * K) int64
    hit_weights,  # (B, V * K, S, C) floating point
    class_weights,  # (B, V * K, S, C) floating point
    offsets,  # (S + 1,) int64
    cells,  # (B, M) int64
    counts,  # (B, M) floating point
    variances,  # (B, S, V, K) floating point; written
    levels,  # (B, S, V) floating point; written
):
    images, scales, groups, members = variances.shape
    classes, width = probabilities.shape[1], groups * members
    size = 32  # cells brought together, so that they stay in the cache
    zero = variances.dtype.type(0)
    for n in numba.prange(images * scales):
        b, s = n // scales, n % scales
        rates = np.empty((size, classes), variances.dtype)
        own = np.empty((size, width), np.uint8)
        hit = hit_weights[b, :, s].T.copy()
        everywhere = class_weights[b, :, s].T.copy()
        hits = np.zeros((classes, width), variances.dtype)
        labelled = np.zeros(classes, variances.dtype)
        # What each map gives at a cell, times the root of its count: where the label is the map's
        # class, and on average; and sums of the first over the maps of a group of one class.
        root, mean = np.empty(width, variances.dtype), np.empty(width, variances.dtype)
        alike = np.empty(classes, variances.dtype)
        alone = np.zeros(width, variances.dtype)
        together = np.zeros(groups, variances.dtype)
        for start in range(offsets[s], offsets[s + 1], size):
            count = min(size, offsets[s + 1] - start)
            for q in range(count):
                place = np.uint64(cells[b, start + q])
                for c in range(classes):
                    rates[q, c] = probabilities[b, c, place] * counts[b, start + q]
            for k in range(np.uint64(width)):
                row = np.uint64(rows[b, k])
                for q in range(count):
                    own[q, k] = maps[row, np.uint64(cells[b, start + q])]
            for q in range(np.uint64(count)):
                whole = zero
                for c in range(classes):
                    whole += rates[q, c]
                unit = 1 / np.sqrt(whole)
                for k in range(np.uint64(width)):
                    root[k] = zero
                    mean[k] = zero
                for c in range(np.uint64(classes)):
                    rate = rates[q, c]
                    labelled[c] += rate
                    half, share = np.sqrt(rate), rate * unit
                    for k in range(np.uint64(width)):
                        given = hit[c, k] if own[q, k] == np.uint8(c) else zero
                        root[k] += given * half
                        mean[k] += (everywhere[c, k] + given) * share
                        hits[c, k] += given * rate
                for k in range(np.uint64(width)):
                    alone[k] += root[k] * root[k] - mean[k] * mean[k]
                for g in range(groups):
                    for c in range(classes):
                        alike[c] = zero
                    average = zero
                    for k in range(np.uint64(g * members), np.uint64((g + 1) * members)):
                        alike[own[q, k]] += root[k]
                        average += mean[k]
                    for c in range(classes):
                        together[g] += alike[c] * alike[c]
                    together[g] -= average * average
        # What the class weights share with the hits, and among themselves, is a matter of counts.
        for g in range(groups):
            of_sum, of_each = together[g], zero
            for c in range(classes):
                hit_by_any, any_class = zero, zero
                for k in range(g * members, (g + 1) * members):
                    one = everywhere[c, k]
                    alone[k] += one * (2 * hits[c, k] + labelled[c] * one)
                    hit_by_any += hits[c, k]
                    any_class += one
                of_sum += any_class * (2 * hit_by_any + labelled[c] * any_class)
            for k in range(members):
                variances[b, s, g, k] = alone[g * members + k]
                of_each += alone[g * members + k]
            levels[b, s, g] = (of_sum - of_each) / max(members * (members - 1), 1)


def _empty_variances(
    probabilities, maps, hits, others, offsets, members: int, cells, counts, rows=None, **_
) -> tuple[torch.Tensor, torch.Tensor]:
    images, number = batch_shape(maps, rows)
    shape = (images, len(offsets) - 1, number // members)
    return probabilities.new_empty(*shape, members), probabilities.new_empty(shape)


@traceable("label_variances", _empty_variances)
def label_variances(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    offsets: Sequence[int],
    members: int,
    cells: torch.Tensor,
    counts: torch.Tensor,
    rows: torch.Tensor | None = None,
    *,
    implementation: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances of N linear functions of the label map of each scale, whose cells are independent.

    The functions are those of `label_covariance`, in groups of K: N = V * K.

    Args:
        probabilities: (B, C, cells) floating point, summing to 1 over C.
        maps: (B, N, cells) uint8, classes below C; or a table (R, cells).
        hit_weights: (B, N, S, C) floating point.
        class_weights: (B, N, S, C) floating point.
        offsets: Where each scale starts among the sampled cells, and their number last; S + 1.
        members: K.
        cells: (B, M) int64, cells that stand for all, scale after scale.
        counts: (B, M) floating point, how many cells each of them stands for; positive.
        rows: (B, N) int64 of the table; None without one.
        implementation: `auto`, `reference` or `numba`.

    Returns:
        Variances (B, S, V, K), and (B, S, V), the mean covariance of a group's pairs, 0 for groups
        of one; floating point, not differentiable.
    """
    probabilities = probabilities.detach()
    weights = (hit_weights.detach(), class_weights.detach())
    if choose(implementation, maps) == "reference":
        sampled = gather_cells(probabilities, gather_maps(maps, rows), cells, counts)
        return label_variances_reference(*sampled, *weights, offsets, members)
    found = _empty_variances(probabilities, maps, *weights, offsets, members, cells, counts, rows)
    own = as_table(maps, rows)
    given = (probabilities, *own, *weights, layout(offsets), cells, counts)
    _vary(len(probabilities) * (len(offsets) - 1), *given, *found)
    return found
