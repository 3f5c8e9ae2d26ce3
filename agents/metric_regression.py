"""Regression under the metric model: beliefs about labels, held against the scores of maps."""

from __future__ import annotations

import torch

from agents.coarse_feedback import scores_from_order, scores_from_ratings
from agents.objectives import group_variances, whitened_regression
from agents.score_models import metric_covariance, metric_prediction
from rss_env.feedback import Feedback

# Variance of a score that the metric model's covariance does not explain, as a share of the mean
# variance it gives the image's scores; and one to keep the sum positive.
_UNEXPLAINED, _TINY = 0.1, 1e-8
# Under ratings, variance of an error that all maps of a group have in common, in the same unit. It
# is not left free as under PSD: mostly one map of a group gets a star, and the others tell nothing.
_COMMON = 30.0


def metric_regression(
    beliefs: torch.Tensor,
    maps: torch.Tensor,
    scores: torch.Tensor,
    valid: torch.Tensor,
    metric: str,
    feedback: Feedback,
    *,
    psd: bool = True,
    grid: tuple[int, int] | None = None,
) -> torch.Tensor:
    """The loss of one scale: generalised least squares of scores on what beliefs make of maps.

    Args:
        beliefs: (B, C, P) probabilities, differentiable.
        maps: (B, V, K, P) uint8.
        scores: (B, V, K) as the feedback shows them.
        valid: (B, V) bool, which groups there are.
        metric: What is scored; see `rss_env.rewards`.
        feedback: What of the score is shown.
        psd: Whether only differences within groups count.
        grid: Rows and columns of the P cells, if maps differ in whole regions; see
            `metric_covariance`.

    Returns:
        A scalar.
    """
    shape, flat = maps.shape[1:3], maps.flatten(1, 2)
    predicted = metric_prediction(beliefs, flat, metric).unflatten(1, shape)
    covariance = metric_covariance(beliefs, flat, metric, grid)
    variances, within = group_variances(covariance, *shape)
    weights = (valid / valid.sum(1, keepdim=True)).to(within.dtype)
    level = (variances.mean(2) * weights).sum(1)
    unexplained = _UNEXPLAINED * (within * weights).sum(1) + _TINY
    noise = unexplained[:, None, None].expand_as(scores)
    offset = torch.full_like(level, torch.inf) if psd else None
    if feedback.kind == "rating":
        expected = variances + level[:, None, None] + _TINY
        scores, error = scores_from_ratings(scores, feedback.amount, predicted, expected)
        noise = noise + error
        offset = _COMMON * level if psd else None
    elif feedback.kind == "ranking":
        valid = valid & (scores.amax(2) > scores.amin(2))  # a group of ties says nothing
        scores, error = scores_from_order(scores, predicted, within)
        noise = noise + error[..., None]
    else:
        noise = noise + feedback.variance
    return whitened_regression(predicted, scores, covariance, noise, offset=offset, valid=valid)
