"""Numbers of cells of each class that action maps have at every scale."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numba
import numpy as np
import torch

from rss_env.arrays import layout
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable

# Up to so many classes, comparing all cells with each class, as vectors, is faster than counting
# one cell after another.
_FEW_CLASSES = 20


def map_counts_reference(
    maps: torch.Tensor, offsets: Sequence[int], num_classes: int
) -> torch.Tensor:
    """The counts by adding up ones, one scale after another."""
    counts = []
    for start, stop in pairwise(offsets):
        index = maps[..., start:stop].long()
        zeros = torch.zeros(*maps.shape[:2], num_classes, device=maps.device)
        counts.append(zeros.scatter_add(2, index, torch.ones_like(index, dtype=zeros.dtype)))
    return torch.stack(counts, 2)


@BatchLoop
def _count(
    maps,  # (B, N, cells) uint8
    offsets,  # (S + 1,) int64
    counts,  # (B, N, S, C) float32; written
):
    images, num_maps, _ = maps.shape
    classes = counts.shape[3]
    for n in numba.prange(images * num_maps):
        b, k = n // num_maps, n % num_maps
        for s in range(offsets.size - 1):
            own, found = maps[b, k, offsets[s] : offsets[s + 1]], counts[b, k, s]
            if classes <= _FEW_CLASSES:
                for c in range(classes):
                    total = np.int32(0)
                    for q in range(len(own)):
                        total += np.int32(own[q] == np.uint8(c))
                    found[c] = total
            else:
                totals = np.zeros(classes, np.int32)
                for q in range(len(own)):
                    totals[own[q]] += 1
                found[:] = totals


def _empty_counts(maps, offsets: Sequence[int], num_classes: int, **_) -> torch.Tensor:
    shape = (*maps.shape[:2], len(offsets) - 1, num_classes)
    return torch.empty(shape, dtype=torch.float32, device=maps.device)


@traceable("map_counts", _empty_counts)
def map_counts(
    maps: torch.Tensor, offsets: Sequence[int], num_classes: int, *, backend: str = "auto"
) -> torch.Tensor:
    """Count the cells of every class at every scale.

    Args:
        maps: (B, N, cells) uint8, flat actions with classes below C.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        num_classes: C.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, N, S, C) float32, in cells.
    """
    backend = choose(backend, maps, COMPILED)
    if backend == "reference":
        return map_counts_reference(maps, offsets, num_classes)
    if backend == "triton":
        from rss_agents.kernels.triton.map_counts import map_counts_triton

        return map_counts_triton(maps, offsets, num_classes)
    counts = _empty_counts(maps, offsets, num_classes)
    _count(counts.shape[0] * counts.shape[1], maps, layout(offsets), counts)
    return counts
