"""How linear functions of an unknown label map vary together, if its cells follow probabilities.

A score, linearised, weighs every cell of the label: by one weight where the label is the map's own
class, and by another for whatever class it is. The covariance of two maps' scores says how much of
what is learned from one is known from the other.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_env.kernels.dispatch import BatchLoop, choose, traceable
from rss_env.kernels.expected_counts import expected_counts


def label_covariance_reference(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
) -> torch.Tensor:
    """The covariance from the weight of every map, class and cell."""
    chosen = torch.nn.functional.one_hot(maps.long(), probabilities.shape[1])  # (B, K, P, C)
    weights = chosen * hit_weights[:, :, None] + class_weights[:, :, None]
    rates = probabilities.transpose(1, 2)[:, None]  # (B, 1, P, C)
    centred = weights - (weights * rates).sum(3, keepdim=True)
    return torch.einsum("bkpc,bjpc->bkj", centred * rates, centred)


@BatchLoop
def _second_moment_of_hits(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, K, P) uint8
    hit_weights,  # (B, K, C) floating point
    means,  # (B, K, P) floating point; written: the mean of what each cell gives by a hit
    result,  # (B, K, K) floating point; written
):
    images, members, cells = maps.shape
    classes = probabilities.shape[1]
    width = (members + 15) // 16 * 16  # whole vectors, also of the lower triangle's rows
    tile = 64  # cells whose maps are brought together, so that memory is read in order
    for b in numba.prange(images):
        rates = np.empty((classes, tile), result.dtype)
        own = np.zeros((tile, members), np.uint8)
        roots = np.zeros((tile, members), result.dtype)
        # What the maps of one class give at each of four cells, and zeros for the other maps.
        alike = np.zeros((4, classes, width), result.dtype)
        sums = np.zeros((members, width), result.dtype)
        for start in range(0, cells, tile):
            count = min(tile, cells - start)
            for c in range(classes):
                for q in range(count):
                    rates[c, q] = probabilities[b, c, start + q]
            for k in range(members):
                for q in range(count):
                    choice = maps[b, k, start + q]
                    rate, weight = rates[choice, q], hit_weights[b, k, choice]
                    own[q, k] = choice
                    roots[q, k] = weight * np.sqrt(rate)
                    means[b, k, start + q] = weight * rate
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
        for k in range(members):
            for j in range(k + 1):
                result[b, k, j] = sums[k, j]
                result[b, j, k] = sums[k, j]


def _empty_covariance(probabilities, maps, *_, **__) -> torch.Tensor:
    return probabilities.new_empty(*maps.shape[:2], maps.shape[1])


@traceable("label_covariance", _empty_covariance)
def label_covariance(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Covariance of K linear functions of a label map whose cells are independent.

    Function k is the sum over cells p of `hit_weights[k, z_p]` where the label z_p is the class of
    map k, plus `class_weights[k, z_p]` everywhere.

    Args:
        probabilities: (B, C, P) floating point, summing to 1 over C.
        maps: (B, K, P) uint8, classes below C.
        hit_weights: (B, K, C) floating point.
        class_weights: (B, K, C) floating point.
        implementation: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, K, K) floating point, positive semi-definite up to rounding; not differentiable.
    """
    inputs = [t.detach() for t in (probabilities, maps, hit_weights, class_weights)]
    face = choose(implementation, maps)
    if face == "reference":
        return label_covariance_reference(*inputs)
    if face == "triton":
        from rss_env.kernels.triton.label_covariance import label_covariance_triton

        return label_covariance_triton(*inputs)
    probabilities, maps, hit_weights, class_weights = inputs
    result = _empty_covariance(probabilities, maps)
    means = probabilities.new_empty(maps.shape)
    _second_moment_of_hits(len(maps), probabilities, maps, hit_weights, means, result)
    # What the class weights share with the hits, and among themselves, is a matter of counts.
    right = expected_counts(probabilities, maps, (0, maps.shape[2]))[:, :, 0]
    mixed = torch.bmm(right * hit_weights, class_weights.transpose(1, 2))
    alone = torch.bmm(class_weights * probabilities.sum(2)[:, None], class_weights.transpose(1, 2))
    means += torch.bmm(class_weights, probabilities)
    return result + mixed + mixed.transpose(1, 2) + alone - torch.bmm(means, means.transpose(1, 2))
