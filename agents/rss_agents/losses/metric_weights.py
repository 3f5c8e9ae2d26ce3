"""How much each metric counts in a score of unknown formula, told by differences within groups.

What beliefs predict of a map's metrics is, if they are calibrated, a mean over labels: the score is
then that prediction, weighed, and an error that has nothing to do with it. So plain least squares
of scores on predictions finds the weights, however vague beliefs are. Only differences within
groups count, since all that the maps of an image have in common says little of a formula.

Source: regression without attenuation under errors of Berkson's kind (Berkson, Journal of the
American Statistical Association, 1950); weights are not negative (Lawson and Hanson, 1974).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from rss_agents.distributed import mean_over_ranks
from rss_agents.losses.score_model_config import MixtureConfig

_LEAST_VARIANCE = 1e-12


class MetricWeights:
    """Least squares over the batches so far, of which older ones count less."""

    def __init__(self, first: torch.Tensor, config: MixtureConfig):
        """Begin with weights (M,) that hold until scores say otherwise."""
        self._first, self._config = first.double().cpu().numpy(), config
        self._products = np.zeros(2 * self._first.shape)  # of metrics with metrics
        self._with_scores = np.zeros_like(self._first)

    def observe(self, predicted: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take in a group of scores of each image, and give the weights (M,) that fit all so far.

        Args:
            predicted: (B, K, S, M) what would be added to each score if a metric's weight were 1.
            scores: (B, K, S). Every scale counts by the variance of its scores within groups.

        Returns:
            Of the type of `predicted`, none of them negative; their sum is free.
        """
        observed = scores - scores.mean(1, keepdim=True)
        deviations = mean_over_ranks(observed.square().mean((0, 1))).clamp(min=_LEAST_VARIANCE)
        unit = deviations.sqrt()
        changes = (predicted - predicted.mean(1, keepdim=True)) / unit[:, None]
        rows, observed = changes.flatten(0, 2), (observed / unit).flatten()
        newest = torch.column_stack([rows.mT @ rows, rows.mT @ observed])
        newest = mean_over_ranks(newest).cpu().numpy()
        self._products = self._config.memory * self._products + newest[:, :-1]
        self._with_scores = self._config.memory * self._with_scores + newest[:, -1]
        # First weights count as so many observations of each; the root makes it a plain problem.
        known = self._config.first_weight
        factor = np.linalg.cholesky(self._products + known * np.eye(len(self._first)))
        target = np.linalg.solve(factor, self._with_scores + known * self._first)
        weights, _ = nnls(factor.T, target)
        return torch.from_numpy(weights).to(predicted)

    def get_state(self) -> dict[str, Any]:
        """What the scores so far have said."""
        return {
            "products": torch.from_numpy(self._products.copy()),
            "with_scores": torch.from_numpy(self._with_scores.copy()),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._products = state["products"].cpu().numpy().copy()
        self._with_scores = state["with_scores"].cpu().numpy().copy()
