"""What K action maps would get right, class by class, if labels followed given probabilities.

The counts that `class_counts` takes from labels, in expectation over them; differentiable.
"""

from __future__ import annotations

from typing import Any

import numba
import torch

from rss_env.kernels.dispatch import BatchLoop, choose


def expected_counts_reference(
    probabilities: torch.Tensor, maps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The counts by gathering and scattering."""
    index = maps.long()
    zeros = probabilities.new_zeros(*maps.shape[:2], probabilities.shape[1])
    right = zeros.scatter_add(2, index, probabilities.gather(1, index))
    predicted = zeros.scatter_add(2, index, torch.ones_like(index, dtype=zeros.dtype))
    return right, predicted


@BatchLoop
def _count(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, K, P) uint8
    right,  # (B, K, C) floating point, zeros; written
    predicted,  # (B, K, C) floating point, zeros; written
):
    images, members, cells = maps.shape
    for n in numba.prange(images * members):
        b, k = n // members, n % members
        for p in range(cells):
            choice = maps[b, k, p]
            right[b, k, choice] += probabilities[b, choice, p]
            predicted[b, k, choice] += 1.0


@BatchLoop
def _count_backward(
    gradient,  # (B, K, C) floating point, on `right`
    maps,  # (B, K, P) uint8
    result,  # (B, C, P) floating point, zeros; written
):
    images, members, cells = maps.shape
    for b in numba.prange(images):
        for k in range(members):
            for p in range(cells):
                choice = maps[b, k, p]
                result[b, choice, p] += gradient[b, k, choice]


class _ExpectedCounts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, probabilities: torch.Tensor, maps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        images, members, _ = maps.shape
        right = probabilities.new_zeros(images, members, probabilities.shape[1])
        predicted = torch.zeros_like(right)
        _count(images * members, probabilities, maps, right, predicted)
        ctx.save_for_backward(maps)
        ctx.shape = probabilities.shape
        ctx.mark_non_differentiable(predicted)
        return right, predicted

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (maps,) = ctx.saved_tensors
        result = gradients[0].new_zeros(ctx.shape)
        _count_backward(len(maps), gradients[0], maps, result)
        return result, None


def expected_counts(
    probabilities: torch.Tensor, maps: torch.Tensor, *, implementation: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Expected true positives, and predicted cells, of every class.

    Args:
        probabilities: (B, C, P) floating point of each cell's pixels, summing to 1 over C.
        maps: (B, K, P) uint8, classes below C.
        implementation: `auto`, `reference` or `numba`.

    Returns:
        True positives (B, K, C), differentiable in the probabilities, and predicted (B, K, C), both
        of the same type, in cells.
    """
    if choose(implementation, maps) == "reference":
        return expected_counts_reference(probabilities, maps)
    return _ExpectedCounts.apply(probabilities, maps)  # pyright: ignore[reportReturnType]
