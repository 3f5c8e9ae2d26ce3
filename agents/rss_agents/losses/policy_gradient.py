"""The score-function gradient of one scale, as a pure function."""

from __future__ import annotations

import math

import torch

from rss_agents.distributed import mean_over_ranks
from rss_agents.kernels.advantage_map import advantage_map
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference
from rss_agents.losses.advantages import leave_one_out


def cell_advantages(maps: torch.Tensor, scores: torch.Tensor, *, psd: bool) -> torch.Tensor:
    """Advantages (B, V, K, P) of the cells of maps, in reward per cell.

    Args:
        maps: (B, V, K, P) uint8, V groups of K maps of each image.
        scores: (B, V, K), of which a cell decides one in P; or (B, V, K, P) rewards of cells, which
            get a leave-one-out baseline each.
        psd: Whether pairs of maps share their difference among the cells where they differ;
            otherwise every cell of a map gets the map's leave-one-out advantage.
    """
    groups, group_scores = maps.flatten(0, 1), scores.flatten(0, 1)
    if scores.ndim == 4:
        advantages = leave_one_out(group_scores)
    elif psd:
        advantages = pairwise_spatial_difference(group_scores, groups) * maps.shape[3]
    else:
        advantages = leave_one_out(group_scores)[..., None].expand(groups.shape) * maps.shape[3]
    return advantages.view(maps.shape)


def policy_gradient(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    advantages: torch.Tensor,
    entropy: float | torch.Tensor,
    *,
    likelihoods: torch.Tensor | None = None,
    most_importance: float = math.inf,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """The score-function gradient of expected reward plus entropy.

    Args:
        probabilities: (B, C, P), differentiable.
        maps: (B, V, K, P) uint8, V groups of K maps of each image.
        advantages: (B, V, K, P), in reward per cell; see `cell_advantages`.
        entropy: Coefficient of the mean entropy of a cell, in the same units.
        likelihoods: (B, V, K, P) probabilities that the cells were drawn with. A cell of an older
            map counts by how much more likely it is now. None: drawn from these
            probabilities.
        most_importance: Largest weight of a cell of an older map.
        valid: (B, V) bool, which groups there are; all of them if None. Those that are not have
            no advantages.

    Returns:
        A scalar, to be minimised.

    Source: truncated importance weights are those of Ionides (Journal of Computational and
    Graphical Statistics, 2008), here of each cell by itself.
    """
    flat, weighted = maps.flatten(1, 2), advantages.flatten(1, 2)
    probabilities = probabilities.clamp(min=1e-12)
    log_probabilities = probabilities.log()
    if likelihoods is not None:
        now = probabilities.detach().gather(1, flat.long())
        weighted = weighted * (now / likelihoods.flatten(1, 2)).clamp(max=most_importance)
    # The gradient on the log-probabilities, written directly.
    gradient = advantage_map(weighted, flat, probabilities.shape[1])
    gain = (gradient * log_probabilities).sum() / maps.numel()
    share = 1.0 if valid is None else mean_over_ranks(valid.sum()) / valid.numel()
    cell_entropy = -(probabilities * log_probabilities).sum(1)
    return -(gain / share + entropy * cell_entropy.mean())
