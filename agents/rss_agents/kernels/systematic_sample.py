"""Cells that stand for all of their scale, drawn at equal steps and by their importance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numba
import numpy as np
import torch

from rss_env.arrays import layout
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable

_TINY = 1e-20  # importance that is none


def sample_offsets(offsets: Sequence[int], most: int) -> tuple[int, ...]:
    """Start of each scale among the cells of a sample, and their number last; S + 1 in all."""
    return (0, *accumulate(min(stop - start, most) for start, stop in pairwise(offsets)))


def systematic_sample_reference(
    importance: torch.Tensor,
    starts: torch.Tensor,
    offsets: Sequence[int],
    most: int,
    uniform_share: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sample by searching for steps among running sums, one scale after another."""
    images, device = len(importance), importance.device
    cells, counts = [], []
    for s, (start, stop) in enumerate(pairwise(offsets)):
        size = stop - start
        if size <= most:
            cells.append(torch.arange(start, stop, device=device).expand(images, -1))
            counts.append(importance.new_ones(images, size, dtype=torch.float64))
            continue
        own = importance[:, start:stop].double()
        total = own.cumsum(1)[:, -1:].clamp(min=_TINY)
        probability = (1 - uniform_share) * own / total + uniform_share / size
        places = probability.cumsum(1)
        steps = torch.arange(most, device=device) + starts[:, s, None].double()
        drawn = torch.searchsorted(places, steps * (places[:, -1:] / most)).clamp(max=size - 1)
        cells.append(drawn + start)
        counts.append(places[:, -1:] / (most * probability.gather(1, drawn)))
    return torch.cat(cells, 1), torch.cat(counts, 1).to(importance.dtype)


@BatchLoop
def _sample(
    importance,  # (B, cells) floating point
    starts,  # (B, S) floating point
    offsets,  # (S + 1,) int64
    sampled,  # (S + 1,) int64, offsets in the sample
    most,
    uniform_share,
    cells,  # (B, M) int64; written
    counts,  # (B, M) floating point; written
):
    for b in numba.prange(len(importance)):
        for s in range(offsets.size - 1):
            start, size = offsets[s], offsets[s + 1] - offsets[s]
            own, first = importance[b, start : start + size], sampled[s]
            if size <= most:
                for q in range(size):
                    cells[b, first + q] = start + q
                    counts[b, first + q] = 1
                continue
            total = 0.0
            for q in range(size):
                total += own[q]
            total = max(total, _TINY)
            places = np.empty(size)
            place = 0.0
            for q in range(size):
                place += (1 - uniform_share) * own[q] / total + uniform_share / size
                places[q] = place
            drawn = 0
            for i in range(most):
                step = (i + np.float64(starts[b, s])) * (place / most)
                while drawn < size - 1 and places[drawn] < step:
                    drawn += 1
                probability = (1 - uniform_share) * own[drawn] / total + uniform_share / size
                cells[b, first + i] = start + drawn
                counts[b, first + i] = place / (most * probability)


def _empty_sample(
    importance, starts, offsets: Sequence[int], most: int, *_, **__
) -> tuple[torch.Tensor, torch.Tensor]:
    counts = importance.new_empty(len(importance), sample_offsets(offsets, most)[-1])
    return torch.empty_like(counts, dtype=torch.int64), counts


@traceable("systematic_sample", _empty_sample)
def systematic_sample(
    importance: torch.Tensor,
    starts: torch.Tensor,
    offsets: Sequence[int],
    most: int,
    uniform_share: float,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw cells so that sums over those drawn are, on average, sums over all.

    A scale of at most so many cells is taken whole. Of others cells are drawn in proportion to
    their importance, and a share of them alike, at equal steps from a random start; each counts by
    the inverse of its probability.

    Args:
        importance: (B, cells) floating point, not negative.
        starts: (B, S) floating point, random numbers in [0, 1).
        offsets: Where each scale starts, and where the last ends; S + 1 in all.
        most: Cells drawn of a scale.
        uniform_share: Share of the draws that goes to all cells alike, so that no cell stands for
            very many.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        Cells (B, M) int64, increasing, and how many each stands for, (B, M) floating point; at each
        scale as `sample_offsets` says.

    Source: systematic sampling with unequal probabilities (Madow, 1949).
    """
    importance = importance.detach()
    backend = choose(backend, importance, COMPILED)
    if backend == "reference":
        return systematic_sample_reference(importance, starts, offsets, most, uniform_share)
    sampled = sample_offsets(offsets, most)
    if backend == "triton":
        from rss_agents.kernels.triton.systematic_sample import systematic_sample_triton

        return systematic_sample_triton(importance, starts, offsets, sampled, most, uniform_share)
    cells, counts = _empty_sample(importance, starts, offsets, most)
    scales, places = layout(offsets), layout(sampled)
    _sample(len(cells), importance, starts, scales, places, most, uniform_share, cells, counts)
    return cells, counts
