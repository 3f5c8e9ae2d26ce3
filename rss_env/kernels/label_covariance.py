"""How linear functions of an unknown label map vary together, if its cells follow probabilities.

A score, linearised, weighs every cell of the label: by one weight where the label is the map's own
class, and by another for whatever class it is. The covariance of two maps' scores says how much of
what is learned from one is known from the other.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_env.kernels.dispatch import BatchLoop, choose
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


@numba.njit(cache=True)
def _add_four_cells(row, classes, roots, member, stop):
    """Add what four cells give one row; four at once, as the row is what has to be moved."""
    nothing = roots[0, member] * 0
    class0, class1, class2, class3 = classes[0], classes[1], classes[2], classes[3]
    roots0, roots1, roots2, roots3 = roots[0], roots[1], roots[2], roots[3]
    own0, own1, own2, own3 = class0[member], class1[member], class2[member], class3[member]
    root0, root1, root2, root3 = roots0[member], roots1[member], roots2[member], roots3[member]
    for j in range(stop):  # without branches: the compiler makes vectors of it
        shared = root0 * (roots0[j] if class0[j] == own0 else nothing)
        shared += root1 * (roots1[j] if class1[j] == own1 else nothing)
        shared += root2 * (roots2[j] if class2[j] == own2 else nothing)
        shared += root3 * (roots3[j] if class3[j] == own3 else nothing)
        row[j] += shared


@BatchLoop
def _second_moment_of_hits(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, K, P) uint8
    hit_weights,  # (B, K, C) floating point
    means,  # (B, K, P) floating point; written: the mean of what each cell gives by a hit
    result,  # (B, K, K) floating point; written
):
    images, members, cells = maps.shape
    width = (members + 15) // 16 * 16  # whole vectors, also of the lower triangle's rows
    for b in numba.prange(images):
        classes = np.zeros((4, width), result.dtype)  # as wide as what is selected by it
        roots = np.zeros((4, width), result.dtype)
        sums = np.zeros((members, width), result.dtype)
        for first in range(0, cells, 4):
            for q in range(4):
                p = first + q
                for k in range(members):
                    roots[q, k] = 0
                    if p < cells:
                        choice = maps[b, k, p]
                        rate, weight = probabilities[b, choice, p], hit_weights[b, k, choice]
                        classes[q, k] = choice
                        roots[q, k] = weight * np.sqrt(rate)
                        means[b, k, p] = weight * rate
            for k in range(members):
                _add_four_cells(sums[k], classes, roots, k, (k // 16 + 1) * 16)
        for k in range(members):
            for j in range(k + 1):
                result[b, k, j] = sums[k, j]
                result[b, j, k] = sums[k, j]


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
        implementation: `auto`, `reference` or `numba`.

    Returns:
        (B, K, K) floating point, positive semi-definite up to rounding; not differentiable.
    """
    inputs = [t.detach() for t in (probabilities, maps, hit_weights, class_weights)]
    if choose(implementation, maps) == "reference":
        return label_covariance_reference(*inputs)
    probabilities, maps, hit_weights, class_weights = inputs
    result = probabilities.new_empty(*maps.shape[:2], maps.shape[1])
    means = probabilities.new_empty(maps.shape)
    _second_moment_of_hits(len(maps), probabilities, maps, hit_weights, means, result)
    # What the class weights share with the hits, and among themselves, is a matter of counts.
    right, _ = expected_counts(probabilities, maps)
    mixed = torch.bmm(right * hit_weights, class_weights.transpose(1, 2))
    alone = torch.bmm(class_weights * probabilities.sum(2)[:, None], class_weights.transpose(1, 2))
    means += torch.bmm(class_weights, probabilities)
    return result + mixed + mixed.transpose(1, 2) + alone - torch.bmm(means, means.transpose(1, 2))
