"""How linear functions of an unknown label map vary together, if its cells follow probabilities.

A score, linearised, weighs every cell of the label: by one weight where the label is the map's own
class, and by another for whatever class it is. The covariance of two maps' scores says how much of
what is learned from one is known from the other. Every scale is a label map of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numba
import numpy as np
import torch

from rss_env.kernels.dispatch import FACES, BatchLoop, choose, traceable


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


@BatchLoop
def _covariances(
    probabilities,  # (B, C, cells) floating point
    maps,  # (B, N, cells) uint8
    hit_weights,  # (B, N, S, C) floating point
    class_weights,  # (B, N, S, C) floating point
    offsets,  # (S + 1,) int64
    result,  # (B, S, N, N) floating point; written
):
    images, members, _ = maps.shape
    classes, scales = probabilities.shape[1], offsets.size - 1
    width = (members + 15) // 16 * 16  # whole vectors, also of the lower triangle's rows
    size = 32  # cells brought together, so that they stay in the cache
    for n in numba.prange(images * scales):
        b, s = n // scales, n % scales
        rates = np.empty((size, classes), result.dtype)
        own = np.zeros((size, members), np.uint8)
        # What each map gives at a cell, times the root of its count: where the label is the map's
        # class, and on average.
        roots = np.zeros((size, members), result.dtype)
        means = np.zeros((size, width), result.dtype)
        # The first of it for the maps of one class at each of four cells, zeros for the other maps.
        alike = np.zeros((4, classes, width), result.dtype)
        sums = np.zeros((members, width), result.dtype)
        hits = np.zeros((members, classes), result.dtype)
        labelled = np.zeros(classes, result.dtype)
        hit = hit_weights[b, :, s].copy()
        everywhere = class_weights[b, :, s].T.copy()
        for start in range(offsets[s], offsets[s + 1], size):
            count = min(size, offsets[s + 1] - start)
            for c in range(classes):
                for q in range(count):
                    rates[q, c] = probabilities[b, c, start + q]
                    labelled[c] += rates[q, c]
            for k in range(members):
                for q in range(count):
                    own[q, k] = maps[b, k, start + q]
            for q in range(count):
                rate, mean = rates[q], means[q]
                unit = 1 / np.sqrt(rate.sum())
                mean[:] = 0
                for c in range(classes):
                    for k in range(members):
                        mean[k] += everywhere[c, k] * (rate[c] * unit)
                for k in range(members):
                    choice = own[q, k]
                    given = hit[k, choice] * rate[choice]
                    hits[k, choice] += given
                    mean[k] += given * unit
                for c in range(classes):
                    rate[c] = np.sqrt(rate[c])
                for k in range(members):
                    roots[q, k] = hit[k, own[q, k]] * rate[own[q, k]]
            for q in range(count, (count + 3) // 4 * 4):
                roots[q] = 0
                means[q] = 0
            for first in range(0, count, 4):  # four at once, as the row is what has to be moved
                mean0, mean1 = means[first], means[first + 1]
                mean2, mean3 = means[first + 2], means[first + 3]
                for q in range(4):
                    for k in range(members):
                        alike[q, own[first + q, k], k] = roots[first + q, k]
                for k in range(members):
                    alike0, alike1 = alike[0, own[first, k]], alike[1, own[first + 1, k]]
                    alike2, alike3 = alike[2, own[first + 2, k]], alike[3, own[first + 3, k]]
                    root0, root1 = roots[first, k], roots[first + 1, k]
                    root2, root3 = roots[first + 2, k], roots[first + 3, k]
                    own0, own1, own2, own3 = mean0[k], mean1[k], mean2[k], mean3[k]
                    row = sums[k]
                    for j in range((k // 16 + 1) * 16):
                        shared = root0 * alike0[j] - own0 * mean0[j]
                        shared += root1 * alike1[j] - own1 * mean1[j]
                        shared += root2 * alike2[j] - own2 * mean2[j]
                        row[j] += shared + (root3 * alike3[j] - own3 * mean3[j])
                for q in range(4):
                    for k in range(members):
                        alike[q, own[first + q, k], k] = 0
        # What the class weights share with the hits, and among themselves, is a matter of counts.
        hits_of_class = hits.T.copy()
        for k in range(members):
            row = sums[k]
            for c in range(classes):
                one, hit_by_one = everywhere[c, k], hits[k, c]
                for j in range(k + 1):
                    other = everywhere[c, j]
                    row[j] += one * (hits_of_class[c, j] + labelled[c] * other) + hit_by_one * other
            for j in range(k + 1):
                result[b, s, k, j] = row[j]
                result[b, s, j, k] = row[j]


def _empty_covariance(probabilities, maps, hits, others, offsets: Sequence[int], **_):
    images, members, _ = maps.shape
    return probabilities.new_empty(images, len(offsets) - 1, members, members)


@traceable("label_covariance", _empty_covariance)
def label_covariance(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    offsets: Sequence[int],
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Covariance of N linear functions of the label map of each scale, whose cells are independent.

    Function k is the sum over cells p of `hit_weights[k, z_p]` where the label z_p is the class of
    map k, plus `class_weights[k, z_p]` everywhere.

    Args:
        probabilities: (B, C, cells) floating point, summing over C to 1, or to the number of cells
            alike that a cell stands for; the sum must be positive.
        maps: (B, N, cells) uint8, classes below C.
        hit_weights: (B, N, S, C) floating point.
        class_weights: (B, N, S, C) floating point.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        implementation: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, S, N, N) floating point, positive semi-definite up to rounding; not differentiable.
    """
    probabilities = probabilities.detach()
    weights = (hit_weights.detach(), class_weights.detach())
    face = choose(implementation, maps, FACES)
    if face == "reference":
        return label_covariance_reference(probabilities, maps, *weights, offsets)
    if face == "triton":
        from rss_env.kernels.triton.label_covariance import label_covariance_triton

        return label_covariance_triton(probabilities, maps, *weights, offsets)
    result = _empty_covariance(probabilities, maps, *weights, offsets)
    problems = result.shape[0] * result.shape[1]
    _covariances(problems, probabilities, maps, *weights, torch.tensor(offsets), result)
    return result
