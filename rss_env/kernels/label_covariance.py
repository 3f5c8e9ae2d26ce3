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
def _add_cell(row, classes, roots, means, own_class, own_root, own_mean):
    nothing = own_root * 0
    for j in range(row.size):  # without branches: the compiler makes vectors of it
        shared = roots[j] if classes[j] == own_class else nothing
        row[j] += own_root * shared - own_mean * means[j]


@BatchLoop
def _covariance_of_hits(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, K, P) uint8
    hit_weights,  # (B, K, C) floating point
    expected,  # (B, K, P) floating point: what `class_weights` expects of each cell
    result,  # (B, K, K) floating point, zeros; written
):
    images, members, cells = maps.shape
    for b in numba.prange(images):
        classes = np.empty(members, result.dtype)  # as wide as what is selected by it
        roots = np.empty(members, result.dtype)
        means = np.empty(members, result.dtype)
        for p in range(cells):
            for k in range(members):
                choice = maps[b, k, p]
                rate, weight = probabilities[b, choice, p], hit_weights[b, k, choice]
                classes[k] = choice
                roots[k] = weight * np.sqrt(rate)
                means[k] = weight * rate + expected[b, k, p]
            for k in range(members):
                _add_cell(result[b, k], classes, roots, means, classes[k], roots[k], means[k])


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
    result = probabilities.new_zeros(*maps.shape[:2], maps.shape[1])
    expected = torch.bmm(class_weights, probabilities)
    _covariance_of_hits(len(maps), probabilities, maps, hit_weights, expected, result)
    # What the class weights share with the hits, and among themselves, is a matter of counts.
    right, _ = expected_counts(probabilities, maps)
    mixed = torch.bmm(right * hit_weights, class_weights.transpose(1, 2))
    alone = torch.bmm(class_weights * probabilities.sum(2)[:, None], class_weights.transpose(1, 2))
    return result + mixed + mixed.transpose(1, 2) + alone
