"""What action maps would get right, scale by scale and class by class, if labels followed beliefs.

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

from rss_env.kernels.dispatch import FACES, BatchLoop, choose, traceable


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


@BatchLoop
def _count(
    probabilities,  # (B, C, cells) floating point
    maps,  # (B, N, cells) uint8
    offsets,  # (S + 1,) int64
    counts,  # (B, N, S, C) floating point, zeros; written
):
    images, members, _ = maps.shape
    classes = probabilities.shape[1]
    size = 256  # cells whose probabilities are brought together, so that they stay in the cache
    for b in numba.prange(images):
        tile = np.empty((size, classes), probabilities.dtype)
        for s in range(offsets.size - 1):
            for start in range(offsets[s], offsets[s + 1], size):
                stop = min(start + size, offsets[s + 1])
                for c in range(classes):
                    for p in range(start, stop):
                        tile[p - start, c] = probabilities[b, c, p]
                # Four maps at once: a sum then need not wait for the one before it.
                for k in range(0, members - 3, 4):
                    counts0, counts1 = counts[b, k, s], counts[b, k + 1, s]
                    counts2, counts3 = counts[b, k + 2, s], counts[b, k + 3, s]
                    map0, map1 = maps[b, k], maps[b, k + 1]
                    map2, map3 = maps[b, k + 2], maps[b, k + 3]
                    for p in range(start, stop):
                        row = tile[p - start]
                        counts0[map0[p]] += row[map0[p]]
                        counts1[map1[p]] += row[map1[p]]
                        counts2[map2[p]] += row[map2[p]]
                        counts3[map3[p]] += row[map3[p]]
                for k in range(members // 4 * 4, members):
                    for p in range(start, stop):
                        counts[b, k, s, maps[b, k, p]] += tile[p - start, maps[b, k, p]]


@BatchLoop
def _count_backward(
    gradient,  # (B, N, S, C) floating point, on the counts
    maps,  # (B, N, cells) uint8
    offsets,  # (S + 1,) int64
    result,  # (B, C, cells) floating point, zeros; written
):
    images, members, _ = maps.shape
    for b in numba.prange(images):
        for k in range(members):
            for s in range(offsets.size - 1):
                own = gradient[b, k, s]
                for p in range(offsets[s], offsets[s + 1]):
                    result[b, maps[b, k, p], p] += own[maps[b, k, p]]


def _empty_counts(probabilities, maps, offsets: Sequence[int], **_) -> torch.Tensor:
    images, members, _ = maps.shape
    return probabilities.new_empty(images, members, len(offsets) - 1, probabilities.shape[1])


@traceable("expected_counts", _empty_counts)
def _forward(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    if choose(implementation, maps, FACES) == "triton":
        from rss_env.kernels.triton.expected_counts import expected_counts_triton

        return expected_counts_triton(probabilities, maps, offsets)
    counts = torch.zeros_like(_empty_counts(probabilities, maps, offsets))
    _count(len(maps), probabilities, maps, torch.tensor(offsets), counts)
    return counts


def _empty_gradient(gradient, maps, offsets: Sequence[int], **_) -> torch.Tensor:
    return gradient.new_empty(len(maps), gradient.shape[3], maps.shape[2])


@traceable("expected_counts_backward", _empty_gradient)
def _backward(
    gradient: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """The gradient (B, C, cells) on the probabilities, of one (B, N, S, C) on the counts."""
    if choose(implementation, maps, FACES) == "triton":
        from rss_env.kernels.triton.expected_counts import expected_counts_gradient_triton

        return expected_counts_gradient_triton(gradient, maps, offsets)
    result = torch.zeros_like(_empty_gradient(gradient, maps, offsets))
    _count_backward(len(maps), gradient, maps, torch.tensor(offsets), result)
    return result


class _ExpectedCounts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        probabilities: torch.Tensor,
        maps: torch.Tensor,
        offsets: tuple[int, ...],
        face: str,
    ) -> torch.Tensor:
        ctx.save_for_backward(maps)
        ctx.offsets, ctx.face = offsets, face
        return _forward(probabilities, maps, offsets, implementation=face)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (maps,) = ctx.saved_tensors
        result = _backward(gradients[0], maps, ctx.offsets, implementation=ctx.face)
        return result, None, None, None


def expected_counts(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    offsets: Sequence[int],
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Expected true positives of every class at every scale.

    Args:
        probabilities: (B, C, cells) floating point, of each cell's pixels, summing to 1 over C.
        maps: (B, N, cells) uint8, flat actions with classes below C.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        implementation: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, N, S, C) of the probabilities' type, in cells; differentiable in the probabilities.
    """
    face = choose(implementation, maps, FACES)
    if face == "reference":
        return expected_counts_reference(probabilities, maps, offsets)
    given = (probabilities, maps, tuple(offsets), face)
    return _ExpectedCounts.apply(*given)  # pyright: ignore[reportReturnType]
