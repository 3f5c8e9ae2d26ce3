"""Regression under the metric model: beliefs about labels, held against the scores of maps."""

from __future__ import annotations

import torch

from rss_agents.distributed import mean_over_ranks
from rss_agents.kernels.whitened_residuals import whitened_residuals
from rss_agents.losses.coarse_feedback import scores_from_order, scores_from_ratings
from rss_agents.losses.metric_mixture import MetricMixture
from rss_agents.losses.score_model_config import MetricModelConfig
from rss_agents.losses.score_models import (
    cell_uncertainty,
    metric_covariance,
    metric_prediction,
    sample_cells,
)
from rss_agents.random_draws import RandomDraws
from rss_agents.replay.scored_maps import ScoredMaps
from rss_env.action_maps import ActionMapGeometry
from rss_env.feedback import Feedback

_TINY = 1e-8  # variance that keeps sums of variances positive


def metric_regression(
    beliefs: torch.Tensor,
    scored: ScoredMaps,
    geometry: ActionMapGeometry,
    metric: str | MetricMixture,
    feedback: Feedback,
    draws: RandomDraws,
    model: MetricModelConfig,
    *,
    psd: bool = True,
    in_regions: bool = False,
) -> torch.Tensor:
    """The loss: generalised least squares of scores on what beliefs make of maps.

    Args:
        beliefs: (B, C, cells) probabilities, differentiable, of all scales.
        scored: Maps and what the feedback shows of their scores.
        geometry: Of the maps.
        metric: What is scored, see `rss_env.rewards`; or a mixture that is fitted to the scores.
        feedback: What of the score is shown.
        draws: Random numbers, for the cells that covariances are taken of.
        model: The hyper-parameters.
        psd: Whether only differences within groups count.
        in_regions: Whether maps differ in whole regions; see `metric_covariance`.

    Returns:
        A scalar.
    """
    groups, group_size = scored.rows.shape[1:]
    rows, scales = scored.rows.flatten(1), len(geometry.scales)
    prediction = metric_prediction(
        beliefs,
        scored.maps,
        scored.predicted.flatten(1, 2),
        geometry.offsets,
        metric if isinstance(metric, str) else metric.predict,
        rows,
        presence_share=model.presence_share,
    )
    importance = cell_uncertainty(beliefs, prediction, geometry.offsets)
    covariance = metric_covariance(
        beliefs,
        scored.maps,
        prediction,
        geometry,
        sample=sample_cells(importance, geometry.offsets, draws, model),
        rows=rows,
        regions=model if in_regions else None,
    )
    scores, group_noise = scored.scores, beliefs.new_zeros(scales * len(beliefs))
    stars = feedback.amount if feedback.kind == "rating" else None
    if isinstance(metric, MetricMixture):
        assert prediction.candidates is not None
        newest = slice(0, group_size)
        group_noise = metric.noise.to(beliefs.dtype).repeat_interleave(len(beliefs))
        if scored.is_new:
            if scored.counted is not None:  # alike for all images
                newest = slice(0, int(scored.counted[0, 0].sum()))
            metric.observe(
                prediction.candidates[:, newest],
                scores[:, 0, newest],
                covariance[:, :, newest, newest],
            )
        stars = metric.stars if stars is None else stars
    # Every scale of every image is a problem of its own: (S * B, ...).
    covariance = covariance.transpose(0, 1).flatten(0, 1)
    variances, within = group_variances(covariance, groups, group_size)
    predicted = prediction.scores.permute(2, 0, 1).flatten(0, 1).unflatten(1, (groups, group_size))
    scores = scores.permute(3, 0, 1, 2).flatten(0, 1)
    valid = scored.valid.repeat(scales, 1)
    weights = (valid / valid.sum(1, keepdim=True)).to(predicted.dtype)
    level = (variances.mean(2) * weights).sum(1)
    unexplained = model.unexplained * (within * weights).sum(1) + _TINY + group_noise
    noise = unexplained[:, None, None].expand_as(predicted)
    offset = torch.full_like(level, torch.inf) if psd else None
    if stars is not None:
        expected = variances + level[:, None, None] + _TINY + group_noise[:, None, None]
        scores, error = scores_from_ratings(scores, stars, predicted, expected)
        noise = noise + error
        offset = model.common_error * level if psd else None
    elif feedback.kind == "ranking":
        valid = valid & (scores.amax(2) > scores.amin(2))  # a group of ties says nothing
        scores, error = scores_from_order(scores, predicted, within)
        noise = noise + error[..., None]
    else:
        noise = noise + feedback.variance
    if scored.counted is not None:
        valid = valid[..., None] & scored.counted.repeat(scales, 1, 1)
    return whitened_regression(predicted, scores, covariance, noise, offset=offset, valid=valid)


def group_variances(
    covariance: torch.Tensor, groups: int, group_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances (B, V, K) of scores of covariance (B, V * K, V * K), and what is within groups.

    The second is the mean (B, V) over a group's scores of the variance less the group's own mean.
    """
    blocks = covariance.view(-1, groups, group_size, groups, group_size).diagonal(dim1=1, dim2=3)
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
        valid: (B, V) bool, which groups there are, or (B, V, K), which scores; all of them if
            None.

    Returns:
        A scalar.

    Source: generalised least squares (Aitken, 1936), with random or free intercepts of groups.
    """
    valid = torch.ones_like(scores, dtype=torch.bool) if valid is None else valid
    present = (valid if valid.ndim == 3 else valid[..., None].expand_as(scores)).flatten(1)
    residual = (predicted - scores).flatten(1).double()
    whitened = whitened_residuals(
        residual, covariance, noise.flatten(1), present, scores.shape[2], offset
    )
    count = mean_over_ranks(present.sum().double()).clamp(min=1)
    return ((whitened * residual).sum() / count).to(predicted.dtype)
