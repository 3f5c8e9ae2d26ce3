"""The share of each cell's label in the variance of scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numba
import torch

from rss_env.arrays import layout
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


def cell_uncertainty_reference(
    probabilities: torch.Tensor, weights: torch.Tensor, offsets: Sequence[int]
) -> torch.Tensor:
    """The sums over classes, one scale after another."""
    sizes = [stop - start for start, stop in pairwise(offsets)]
    spread = probabilities - probabilities.square()
    parts = zip(weights.unbind(1), spread.split(sizes, 2), strict=True)
    return torch.cat([(own[:, None] @ part)[:, 0] for own, part in parts], 1)


@BatchLoop
def _weigh(
    probabilities,  # (B, C, cells) floating point
    weights,  # (B, S, C) floating point
    offsets,  # (S + 1,) int64
    result,  # (B, cells) floating point; written
):
    images, classes, _ = probabilities.shape
    for b in numba.prange(images):
        for s in range(offsets.size - 1):
            total = result[b, offsets[s] : offsets[s + 1]]
            total[:] = 0
            for c in range(classes):
                rates, weight = probabilities[b, c, offsets[s] : offsets[s + 1]], weights[b, s, c]
                for p in range(len(total)):
                    total[p] += weight * (rates[p] - rates[p] * rates[p])


def _empty_uncertainty(probabilities, *_, **__) -> torch.Tensor:
    return probabilities.new_empty(len(probabilities), probabilities.shape[2])


@traceable("cell_uncertainty", _empty_uncertainty)
def cell_uncertainty(
    probabilities: torch.Tensor,
    weights: torch.Tensor,
    offsets: Sequence[int],
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """The variance of each cell's label, class by class as weighed.

    Args:
        probabilities: (B, C, cells) floating point, of each cell's label.
        weights: (B, S, C) floating point, of a class's variance at each scale.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, cells) floating point, the sum over classes of weight times p (1 - p); not
        differentiable.
    """
    probabilities, weights = probabilities.detach(), weights.detach()
    backend = choose(backend, probabilities, COMPILED)
    if backend == "reference":
        return cell_uncertainty_reference(probabilities, weights, offsets)
    if backend == "triton":
        from rss_agents.kernels.triton.cell_uncertainty import cell_uncertainty_triton

        return cell_uncertainty_triton(probabilities, weights, offsets)
    result = _empty_uncertainty(probabilities)
    _weigh(len(probabilities), probabilities, weights, layout(offsets), result)
    return result
