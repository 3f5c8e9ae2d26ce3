"""Regression under the metric model: beliefs about labels, held against the scores of maps."""

from __future__ import annotations

import torch

from agents.cell_sample import sample_cells
from agents.coarse_feedback import scores_from_order, scores_from_ratings
from agents.objectives import group_variances, whitened_regression
from agents.replay import ScoredMaps
from agents.score_models import (
    cell_uncertainty,
    metric_covariance,
    metric_prediction,
)
from rss_env.action_maps import ActionMapGeometry
from rss_env.feedback import Feedback

# Variance of a score that the metric model's covariance does not explain, as a share of the mean
# variance it gives the image's scores; and one to keep the sum positive.
_UNEXPLAINED, _TINY = 0.1, 1e-8
# Under ratings, variance of an error that all maps of a group have in common, in the same unit. It
# is not left free as under PSD: mostly one map of a group gets a star, and the others tell nothing.
_COMMON = 30.0
# Covariances are taken of at most so many cells of a scale, drawn anew each time.
_MOST_CELLS = 192


def metric_regression(
    beliefs: torch.Tensor,
    scored: ScoredMaps,
    geometry: ActionMapGeometry,
    metric: str,
    feedback: Feedback,
    generator: torch.Generator,
    *,
    psd: bool = True,
    in_regions: bool = False,
) -> torch.Tensor:
    """The loss: generalised least squares of scores on what beliefs make of maps.

    Args:
        beliefs: (B, C, cells) probabilities, differentiable, of all scales.
        scored: Maps and what the feedback shows of their scores.
        geometry: Of the maps.
        metric: What is scored; see `rss_env.rewards`.
        feedback: What of the score is shown.
        generator: Draws the cells that covariances are taken of.
        psd: Whether only differences within groups count.
        in_regions: Whether maps differ in whole regions; see `metric_covariance`.

    Returns:
        A scalar.
    """
    groups, members = scored.rows.shape[1:]
    rows, scales = scored.rows.flatten(1), len(geometry.scales)
    told = (scored.predicted.flatten(1, 2), geometry.offsets, metric, rows)
    prediction = metric_prediction(beliefs, scored.maps, *told)
    importance = cell_uncertainty(beliefs, prediction, geometry.offsets)
    sample = sample_cells(importance, geometry.offsets, _MOST_CELLS, generator)
    options = {"sample": sample, "rows": rows, "in_regions": in_regions}
    covariance = metric_covariance(beliefs, scored.maps, prediction, geometry, **options)
    # Every scale of every image is a problem of its own: (S * B, ...).
    covariance = covariance.transpose(0, 1).flatten(0, 1)
    variances, within = group_variances(covariance, groups, members)
    predicted = prediction.scores.permute(2, 0, 1).flatten(0, 1).unflatten(1, (groups, members))
    scores = scored.scores.permute(3, 0, 1, 2).flatten(0, 1)
    valid = scored.valid.repeat(scales, 1)
    weights = (valid / valid.sum(1, keepdim=True)).to(predicted.dtype)
    level = (variances.mean(2) * weights).sum(1)
    unexplained = _UNEXPLAINED * (within * weights).sum(1) + _TINY
    noise = unexplained[:, None, None].expand_as(predicted)
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
