"""Advantages of each class of each cell, summed over maps: the policy gradient, written directly.

The gradient of the sum of advantages times log-probabilities of the chosen classes, with respect to
the log-probabilities.
"""

from __future__ import annotations

import numba
import torch

from rss_env.kernels.dispatch import BatchLoop, choose


def advantage_map_reference(
    advantages: torch.Tensor, maps: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """The sums by scattering."""
    sums = advantages.new_zeros(len(maps), num_classes, maps.shape[2])
    return sums.scatter_add(1, maps.long(), advantages)


@BatchLoop
def _add_up(
    advantages,  # (B, N, P) floating point
    maps,  # (B, N, P) uint8
    sums,  # (B, C, P) floating point, zeros; written
):
    images, num_maps, cells = maps.shape
    for b in numba.prange(images):
        for k in range(num_maps):
            for p in range(cells):
                sums[b, maps[b, k, p], p] += advantages[b, k, p]


def advantage_map(
    advantages: torch.Tensor, maps: torch.Tensor, num_classes: int, *, backend: str = "auto"
) -> torch.Tensor:
    """The advantages of a cell's classes, summed over the maps that chose them.

    Args:
        advantages: (B, N, P) floating point.
        maps: (B, N, P) uint8, classes below C.
        num_classes: C.
        backend: `auto`, `reference` or `numba`.

    Returns:
        (B, C, P) of the advantages' dtype; zero for classes that no map chose.
    """
    advantages = advantages.detach()
    if choose(backend, maps) == "reference":
        return advantage_map_reference(advantages, maps, num_classes)
    sums = advantages.new_zeros(len(maps), num_classes, maps.shape[2])
    _add_up(len(maps), advantages, maps, sums)
    return sums
