"""The loss of one scale, as pure functions of logits, maps and scores.

With several processes a loss is a rank's part of the loss of the whole batch, so that the mean over
the ranks is the latter.

Shapes: B images, V groups of K maps of each, C classes, P cells of the scale.
"""

from __future__ import annotations

import torch

from agents.advantages import leave_one_out, synchronised_deviation
from agents.distributed import mean_over_ranks
from rss_env.kernels.advantage_map import advantage_map
from rss_env.kernels.pairwise_difference import pairwise_spatial_difference
from rss_env.kernels.whitened_residuals import whitened_residuals

_MOST_WEIGHT = 2.0  # of a cell of an older map in the policy gradient


def relative_regression(
    predicted: torch.Tensor,
    scores: torch.Tensor,
    deviation: torch.Tensor,
    *,
    psd: bool = True,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Regress differences in score between the maps of a group on predicted differences.

    The loss is the mean over ordered pairs k != j of ((f_k - f_j) - (R_k - R_j))^2 in units of the
    deviation squared, computed as the equal sum of squared deviations from the group's mean. What
    two maps have in common cancels: only cells in which they differ are held to account (PSD, in
    regression form).

    Args:
        predicted: (B, V, K) predicted scores of V groups of K maps, or (B, V, K, P) of cells.
        scores: Scores of the same shape.
        deviation: What residuals are measured in; positive, broadcast to (B, V).
        psd: Whether to regress differences; otherwise each score by itself.
        valid: (B, V) bool, which groups there are; all of them if None.

    Returns:
        A scalar.

    Source: relative-reward regression is REBEL (Gao et al., arXiv 2404.16767), here with a uniform
    reference policy.
    """
    residual = predicted - scores
    if psd:
        residual = residual - residual.mean(2, keepdim=True)
        pairs = 2.0 * scores.shape[2] / (scores.shape[2] - 1)
    else:
        pairs = 1.0
    per_group = pairs * residual.square().flatten(2).mean(2) / deviation.square()
    if valid is None:
        return per_group.mean()
    return (per_group * valid).sum() / mean_over_ranks(valid.sum()).clamp(min=1)


def coarsened_cross_entropy(probabilities: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with labels of which only some classes' shares are known.

    What the known shares leave of a cell belongs to its other classes, whichever: their
    probabilities are added up. With every share known it is the cross-entropy with the shares; a
    cell that is void (no share of any class) counts nothing.

    Args:
        probabilities: (B, C, P), differentiable.
        shares: (B, C, P) shares of classes in each cell, summing to at most 1 over C; negative
            where not known.

    Returns:
        A scalar: the mean over cells.

    Source: the likelihood of coarsened data (Heitjan and Rubin, Annals of Statistics, 1991).
    """
    known = shares >= 0
    told = shares.clamp(min=0)
    others = (probabilities * ~known).sum(1).clamp(min=1e-8).log()
    left = (1 - told.sum(1)).clamp(min=0) * (~known).any(1)
    return -((told * probabilities.clamp(min=1e-8).log()).sum(1) + left * others).mean()


def group_variances(
    covariance: torch.Tensor, groups: int, members: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances (B, V, K) of scores of covariance (B, V * K, V * K), and what is within groups.

    The second is the mean (B, V) over a group's scores of the variance less the group's own mean.
    """
    blocks = covariance.view(-1, groups, members, groups, members).diagonal(dim1=1, dim2=3)
    variances = blocks.diagonal(dim1=1, dim2=2)  # (B, V, K)
    return variances, variances.mean(2) - blocks.mean((1, 2))


def whitened_regression(
    predicted: torch.Tensor,
    scores: torch.Tensor,
    covariance: torch.Tensor,
    noise: torch.Tensor,
    *,
    offset: torch.Tensor | None = None,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Regress scores on predictions that err together: generalised least squares.

    The loss is r' W r per score, with r the residuals of an image's scores and W the inverse of
    their covariance: what the network's own beliefs give them, plus noise, plus an offset that a
    group has in common. An offset that may be anything leaves the differences within groups (PSD,
    in regression form). Its gradient moves the beliefs to where they would be after hearing all of
    an image's scores (to first order), instead of once for each score by itself.

    Args:
        predicted: (B, V, K) predicted scores of V groups of K maps, differentiable.
        scores: (B, V, K).
        covariance: (B, V * K, V * K) of the predictions.
        noise: (B, V, K) variance of a score that no belief explains; positive.
        offset: (B,) variance of what a group's scores have in common and no belief explains,
            infinite for anything; no offset if None.
        valid: (B, V) bool, which groups there are; all of them if None.

    Returns:
        A scalar.

    Source: generalised least squares (Aitken, 1936), with random or free intercepts of groups.
    """
    valid = torch.ones_like(scores[..., 0], dtype=torch.bool) if valid is None else valid
    present = valid[..., None].expand_as(scores).flatten(1)
    residual = (predicted - scores).flatten(1).double()
    whitened = whitened_residuals(
        residual, covariance, noise.flatten(1), present, scores.shape[2], offset
    )
    count = mean_over_ranks(present.sum().double()).clamp(min=1)
    return ((whitened * residual).sum() / count).to(predicted.dtype)


def policy_gradient(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    scores: torch.Tensor,
    entropy: float,
    *,
    psd: bool = True,
    syncan: bool = True,
    likelihoods: torch.Tensor | None = None,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """The score-function gradient of expected reward plus entropy.

    Advantages are in units of reward per cell (times P for image-level scores), so that the
    entropy coefficient is a temperature in the same units; SyncAN divides both alike, so that the
    balance between them stays while the policy sharpens.

    Args:
        probabilities: (B, C, P), differentiable.
        maps: (B, V, K, P) uint8, V groups of K maps of each image.
        scores: (B, V, K), or (B, V, K, P) rewards of cells, which get a leave-one-out baseline
            each.
        entropy: Coefficient of the mean entropy of a cell, in reward per cell.
        psd: Whether pairs of maps share their difference among the cells where they differ;
            otherwise every cell of a map gets the map's leave-one-out advantage.
        syncan: Whether to divide by the advantages' deviation over the global batch.
        likelihoods: (B, V, K, P) probabilities that the cells were drawn with. A cell of an older
            map counts by how much more likely it is now, at most twice. None: drawn from the
            probabilities given.
        valid: (B, V) bool, which groups there are; all of them if None. Those that are not have
            equal scores.

    Returns:
        A scalar, to be minimised.

    Source: truncated importance weights are those of Ionides (Journal of Computational and
    Graphical Statistics, 2008), here of each cell by itself.
    """
    groups, group_scores = maps.flatten(0, 1), scores.flatten(0, 1)
    if scores.ndim == 4:
        advantages = leave_one_out(group_scores)
    elif psd:
        advantages = pairwise_spatial_difference(group_scores, groups) * maps.shape[3]
    else:
        advantages = leave_one_out(group_scores)[..., None].expand(groups.shape) * maps.shape[3]
    advantages, flat = advantages.view(maps.shape), maps.flatten(1, 2)
    weighted = advantages.flatten(1, 2)
    probabilities = probabilities.clamp(min=1e-12)
    log_probabilities = probabilities.log()
    if likelihoods is not None:
        now = probabilities.detach().gather(1, flat.long())
        weighted = weighted * (now / likelihoods.flatten(1, 2)).clamp(max=_MOST_WEIGHT)
    # The gradient on the log-probabilities, written directly.
    owed = advantage_map(weighted, flat, probabilities.shape[1])
    gain = (owed * log_probabilities).sum() / maps.numel()
    share = 1.0 if valid is None else mean_over_ranks(valid.sum()) / valid.numel()
    cell_entropy = -(probabilities * log_probabilities).sum(1)
    objective = gain / share + entropy * cell_entropy.mean()
    if syncan:
        objective = objective / synchronised_deviation(advantages, advantages != 0)
    return -objective
