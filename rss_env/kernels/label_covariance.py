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
def _second_moments(
    probabilities,  # (B, C, cells) floating point
    maps,  # (B, N, cells) uint8
    hit_weights,  # (B, N, S, C) floating point
    class_weights,  # (B, N, S, C) floating point
    offsets,  # (S + 1,) int64
    means,  # (B, N, cells), zeros; written: what each cell gives, times the root of its count
    result,  # (B, S, N, N) floating point; written: the mean products, summed over cells
):
    images, members, _ = maps.shape
    classes, scales = probabilities.shape[1], offsets.size - 1
    width = (members + 15) // 16 * 16  # whole vectors, also of the lower triangle's rows
    size = 64  # cells whose maps are brought together, so that memory is read in order
    for n in numba.prange(images * scales):
        b, s = n // scales, n % scales
        rates = np.empty((classes, size), result.dtype)
        own = np.zeros((size, members), np.uint8)
        roots = np.zeros((size, members), result.dtype)
        # What the maps of one class give at each of four cells, and zeros for the other maps.
        alike = np.zeros((4, classes, width), result.dtype)
        sums = np.zeros((members, width), result.dtype)
        hits = np.zeros((members, classes), result.dtype)
        labelled = np.zeros(classes, result.dtype)
        total = np.empty(size, result.dtype)
        for start in range(offsets[s], offsets[s + 1], size):
            count = min(size, offsets[s + 1] - start)
            total[:] = 0
            for c in range(classes):
                for q in range(count):
                    rates[c, q] = probabilities[b, c, start + q]
                    labelled[c] += rates[c, q]
                    total[q] += rates[c, q]
            for q in range(count):
                total[q] = 1 / np.sqrt(total[q])
            for k in range(members):
                mean = means[b, k, start : start + count]
                for c in range(classes):
                    everywhere = class_weights[b, k, s, c]
                    for q in range(count):
                        mean[q] += everywhere * rates[c, q]
                for q in range(count):
                    choice = maps[b, k, start + q]
                    rate, weight = rates[choice, q], hit_weights[b, k, s, choice]
                    own[q, k] = choice
                    roots[q, k] = weight * np.sqrt(rate)
                    hits[k, choice] += weight * rate
                    mean[q] = (mean[q] + weight * rate) * total[q]
                for q in range(count, (count + 3) // 4 * 4):
                    roots[q, k] = 0
            for first in range(0, count, 4):  # four at once, as the row is what has to be moved
                for q in range(4):
                    for k in range(members):
                        alike[q, own[first + q, k], k] = roots[first + q, k]
                for k in range(members):
                    class0, class1 = own[first, k], own[first + 1, k]
                    class2, class3 = own[first + 2, k], own[first + 3, k]
                    root0, root1 = roots[first, k], roots[first + 1, k]
                    root2, root3 = roots[first + 2, k], roots[first + 3, k]
                    for j in range((k // 16 + 1) * 16):
                        shared = root0 * alike[0, class0, j] + root1 * alike[1, class1, j]
                        shared += root2 * alike[2, class2, j] + root3 * alike[3, class3, j]
                        sums[k, j] += shared
                for q in range(4):
                    for k in range(members):
                        alike[q, own[first + q, k], k] = 0
        # What the class weights share with the hits, and among themselves, is a matter of counts.
        for k in range(members):
            for j in range(k + 1):
                product = sums[k, j]
                for c in range(classes):
                    one, other = class_weights[b, k, s, c], class_weights[b, j, s, c]
                    product += one * (hits[j, c] + labelled[c] * other) + hits[k, c] * other
                result[b, s, k, j] = product
                result[b, s, j, k] = product


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
    images, members, _ = maps.shape
    scales = len(offsets) - 1
    means = probabilities.new_zeros(maps.shape)
    result = probabilities.new_empty(images, scales, members, members)
    starts = torch.tensor(offsets)
    _second_moments(images * scales, probabilities, maps, *weights, starts, means, result)
    for s, (start, stop) in enumerate(pairwise(offsets)):
        centre = means[..., start:stop]
        result[:, s].baddbmm_(centre, centre.mT, alpha=-1)
    return result
