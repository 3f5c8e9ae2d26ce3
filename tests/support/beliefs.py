"""What the metric model makes of maps of one scale, for the tests."""

from __future__ import annotations

import torch

from rss_agents.kernels.expected_counts import expected_counts
from rss_agents.losses.score_models import (
    CellSample,
    MetricPrediction,
    metric_covariance,
    metric_prediction,
)
from rss_env.action_maps import ActionMapGeometry


def predict(probabilities: torch.Tensor, maps: torch.Tensor, metric: str) -> MetricPrediction:
    """The prediction for maps (B, N, P) of one scale, under probabilities (B, C, P)."""
    offsets = (0, maps.shape[2])
    predicted = expected_counts(torch.ones_like(probabilities), maps, offsets)
    return metric_prediction(
        probabilities, maps, predicted.detach(), offsets, metric, presence_share=0.005
    )


def predicted_scores(probabilities: torch.Tensor, maps: torch.Tensor, metric: str) -> torch.Tensor:
    """The predicted scores (B, N)."""
    return predict(probabilities, maps, metric).scores[..., 0]


def covariance_of(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    metric: str,
    sample: CellSample | None = None,
) -> torch.Tensor:
    """The covariance (B, N, N) of the predicted scores."""
    prediction = predict(probabilities, maps, metric)
    geometry = ActionMapGeometry((1, maps.shape[2]), (1,), probabilities.shape[1])
    return metric_covariance(probabilities, maps, prediction, geometry, sample=sample)[:, 0]
