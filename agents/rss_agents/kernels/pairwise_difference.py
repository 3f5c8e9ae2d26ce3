"""Advantages of the cells of K maps from differences in score: pair by pair, where the two differ.

Our reading of PSD, pair-wise spatial difference (the paper's equations are not public).
"""

from __future__ import annotations

import numba
import torch

from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


def pairwise_spatial_difference_reference(scores: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """The definition, for one map j against all others at a time."""
    group_size = maps.shape[1]
    advantages = torch.zeros(maps.shape, dtype=scores.dtype, device=maps.device)
    for j in range(group_size):  # keeps memory linear in K
        differs = maps != maps[:, j : j + 1]
        share = differs.to(scores.dtype).mean(-1)
        gain = (scores - scores[:, j : j + 1]) / share.clamp(min=1.0 / maps.shape[2])
        advantages += gain[..., None] * differs
    return advantages / (group_size - 1)


@BatchLoop
def _share_differences(
    scores,  # (B, K) floating point
    maps,  # (B, K, P) uint8
    advantages,  # (B, K, P) floating point; written
):
    images, group_size, cells = maps.shape
    for b in numba.prange(images):
        advantages[b] = 0
        for k in range(group_size):
            for j in range(k):
                one, other = maps[b, k], maps[b, j]
                differing = 0
                for p in range(cells):
                    differing += one[p] != other[p]
                if differing == 0:
                    continue
                gain = (scores[b, k] - scores[b, j]) * cells / (differing * (group_size - 1))
                winner, loser = advantages[b, k], advantages[b, j]
                for p in range(cells):  # without branches: the compiler makes vectors of it
                    share = gain * (one[p] != other[p])
                    winner[p] += share
                    loser[p] -= share


def _empty_advantages(scores: torch.Tensor, maps: torch.Tensor, **_) -> torch.Tensor:
    return scores.new_empty(maps.shape)


@traceable("pairwise_spatial_difference", _empty_advantages)
def pairwise_spatial_difference(
    scores: torch.Tensor, maps: torch.Tensor, *, backend: str = "auto"
) -> torch.Tensor:
    """Advantage of every cell of every map, from the pairs that differ there (our reading of PSD).

    A_kj(p) = [a_k(p) != a_j(p)] (R_k - R_j) / rho_kj with rho_kj the share of cells in which maps k
    and j differ, and A_k the mean of A_kj over j != k. A pair of equal maps counts zero.

    Args:
        scores: (B, K) floating point, one score per map.
        maps: (B, K, P) uint8, class of each cell.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, K, P) of the scores' dtype; zero wherever all K maps agree.
    """
    scores = scores.detach()
    backend = choose(backend, maps, COMPILED)
    if backend == "reference":
        return pairwise_spatial_difference_reference(scores, maps)
    if backend == "triton":
        from rss_agents.kernels.triton.pairwise_difference import pairwise_spatial_difference_triton

        return pairwise_spatial_difference_triton(scores, maps)
    advantages = _empty_advantages(scores, maps)
    _share_differences(len(maps), scores, maps, advantages)
    return advantages
