"""How much each metric counts in a score of unknown formula, told by differences within groups.

What beliefs predict of a map's metrics is, if they are calibrated, a mean over labels: the score is
then that prediction, weighed, and an error that has nothing to do with it. So plain least squares
of scores on predictions finds the weights, however vague beliefs are. Only differences within
groups count, since all that the maps of an image have in common says little of a formula.

Source: recursive least squares with a forgetting factor (Ljung, System Identification, 1999, 11.2)
and a ridge towards first weights; no attenuation under errors of Berkson's kind (Berkson, Journal
of the American Statistical Association, 1950).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch

from rss_agents.distributed import mean_over_ranks, sum_over_ranks
from rss_agents.losses.score_model_config import MixtureConfig

_LEAST_VARIANCE = 1e-12


class MetricWeights:
    """Least squares over the batches so far, of which older ones count less."""

    def __init__(self, first: torch.Tensor, num_scales: int, config: MixtureConfig):
        """Begin with weights (M,), towards which all later ones are drawn a little."""
        self._first, self._config = first.double().cpu(), config
        self._products = torch.zeros(2 * self._first.shape, dtype=torch.float64)
        self._with_scores = torch.zeros_like(self._first)
        # Within groups, of scores, and as first weights would have it; and of how many batches.
        self._variances = torch.zeros(2, num_scales, dtype=torch.float64)
        self._batches = 0.0

    def observe(self, predicted: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Take in a group of scores of each image, and give the weights (M,) that fit all so far.

        Args:
            predicted: (B, K, S, M) what would be added to each score if a metric's weight were 1.
            scores: (B, K, S). Those of a scale are in units of their deviation, so that all scales
                count alike.

        Returns:
            Of the type of `predicted`, none of them negative; their sum is free.
        """
        memory = self._config.forgetting_factor
        observed = scores - scores.mean(1, keepdim=True)
        changes = predicted - predicted.mean(1, keepdim=True)
        expected = changes @ self._first.to(predicted)
        newest = torch.stack([part.square().mean((0, 1)) for part in (observed, expected)])
        self._variances = memory * self._variances + mean_over_ranks(newest).double().cpu()
        self._batches = memory * self._batches + 1
        # Of many batches: small ones that happen to differ little would count too much. And where
        # scores do not differ at all, they are measured by what might have been expected.
        variances = self._variances.amax(0) / self._batches
        unit = variances.clamp(min=_LEAST_VARIANCE).sqrt().to(predicted)
        rows, target = (changes / unit[:, None]).flatten(0, 2), (observed / unit).flatten()
        sums = sum_over_ranks(torch.column_stack([rows.mT @ rows, rows.mT @ target])).double().cpu()
        self._products = memory * self._products + sums[:, :-1]
        self._with_scores = memory * self._with_scores + sums[:, -1]
        ridge = self._config.first_weight
        weights = non_negative_solution(
            self._products + ridge * torch.eye(len(self._first), dtype=torch.float64),
            self._with_scores + ridge * self._first,
        )
        return weights.to(predicted)

    def get_state(self) -> dict[str, Any]:
        """What the scores so far have said."""
        return {
            "products": self._products,
            "with_scores": self._with_scores,
            "variances": self._variances,
            "batches": self._batches,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._products, self._with_scores = state["products"].cpu(), state["with_scores"].cpu()
        self._variances = state["variances"].cpu()
        self._batches = state["batches"]


def non_negative_solution(products: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The w >= 0 that minimises w' A w / 2 - w' t, of a few numbers.

    Args:
        products: A, (M, M), positive definite.
        targets: t, (M,).

    Returns:
        (M,): of the minima with some of the numbers at 0, the lowest that is nowhere negative.
    """
    best, lowest = torch.zeros_like(targets), 0.0
    for free in product((False, True), repeat=len(targets)):
        kept = torch.tensor(free).nonzero()[:, 0]
        if not len(kept):
            continue
        found = torch.linalg.solve(products[kept][:, kept], targets[kept])
        value = float(-found @ targets[kept] / 2)
        if value < lowest and bool((found >= 0).all()):
            best, lowest = torch.zeros_like(targets).index_copy(0, kept, found), value
    return best
