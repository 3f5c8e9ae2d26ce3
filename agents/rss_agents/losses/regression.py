"""The loss of one scale, as pure functions of logits, maps and scores.

With several processes a loss is a rank's part of the loss of the whole batch, so that the mean over
the ranks is the latter.

Shapes: B images, V groups of K maps of each, C classes, P cells of the scale.
"""

from __future__ import annotations

import torch

from rss_agents.distributed import mean_over_ranks


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
