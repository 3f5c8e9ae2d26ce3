"""A formula for scores of which nobody has said one: metrics, mixed, warped and fitted.

A score R of a map is taken for

    R = size * f ** power + offset + noise,     f = sum of share_m * metric_m(map),

with the metrics of `rss_env.rewards` predicted from beliefs about labels, an offset that the maps
of a group have in common, and a noise. All these numbers are fitted to the newest scores, before
anything was learned from them: what a network has already been fitted to says nothing about the
formula. A scorer knows nothing of scales, so that only the variances of offset and noise are those
of a scale.

Shares and size are those under which scores follow the predictions (`metric_weights`). Scores lie
in 0..1 where all metrics are 0 as where all are 1, so that the size is 1 at most: if scores differ
by more than that predicts, it is beliefs that are too vague, and the gain says how much. It is left
for the beliefs to learn. Power and variances are those under which the scores are most likely.
Ratings are too coarse to follow predictions: for them all numbers are the most likely ones, told at
first by how much scores vary.

Source: least squares, and empirical Bayes (type II maximum likelihood) by stochastic gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from rss_agents.distributed import mean_over_ranks
from rss_agents.losses.coarse_feedback import StarCount
from rss_agents.losses.metric_weights import MetricWeights
from rss_agents.losses.score_model_config import MixtureConfig
from rss_agents.losses.score_models import MetricPrediction, predict_scores
from rss_env.rewards import METRICS

_FIRST = "miou"  # what a score is taken for until scores say otherwise
_LEAST_VARIANCE = 1e-12
_LEAST_SCORE = 1e-3  # of which a power is taken
_LIKELY = 1e-12  # least likelihood that a rating is believed to have
_LEAST_SIZE, _LEAST_SHARE = 0.05, 1e-6
_FOLLOWED = ("shares", "size")  # what differences tell


class MetricMixture:
    """The numbers of the formula, fitted to the scores that come."""

    def __init__(self, num_scales: int, config: MixtureConfig, device: torch.device | str):
        """Begin with mIoU for the most part, unwarped, and no noise known."""
        self.config = config
        shares = torch.full((len(METRICS),), (1 - config.first_share) / (len(METRICS) - 1))
        shares[list(METRICS).index(_FIRST)] = config.first_share
        first = {
            "shares": shares.log(),  # logits
            "size": torch.zeros(()),  # these and the variances as logarithms
            "power": torch.zeros(()),
            "noise": torch.zeros(num_scales),
            "offset": torch.zeros(num_scales),
        }
        self._start = {name: value.double().to(device) for name, value in first.items()}
        self._values = {name: v.clone().requires_grad_() for name, v in self._start.items()}
        self._knows_noise = False
        self._weights = MetricWeights(shares, num_scales, config)
        # Slope of differences between scores on those predicted: a calibration of beliefs.
        self._gain = torch.ones((), dtype=torch.float64, device=device)
        self._star_count = StarCount(device)
        self._optimizer = torch.optim.Adam(list(self._values.values()), config.rate)

    @property
    def noise(self) -> torch.Tensor:
        """Variance (S,) of what no formula explains."""
        return self._values["noise"].detach().exp() * self._knows_noise

    @property
    def stars(self) -> int | None:
        """n, if every score that came is a multiple of 1 / n; None if they are no ratings."""
        return self._star_count.stars

    def numbers(self) -> dict[str, torch.Tensor]:
        """The fitted formula, to log: shares of the metrics, size, power and gain."""
        values = {name: value.detach() for name, value in self._values.items()}
        shares = zip(METRICS, values["shares"].softmax(0), strict=True)
        return {
            **{f"formula_{name}": share for name, share in shares},
            "formula_size": values["size"].exp(),
            "formula_power": values["power"].exp(),
            "formula_gain": self._gain,
        }

    def _warped(self, mixed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores that mixed metrics stand for, and their slopes."""
        size, power = self._values["size"].exp(), self._values["power"].exp()
        mixed = mixed.clamp(min=_LEAST_SCORE)
        return size * mixed**power, size * power * mixed ** (power - 1)

    def predict(
        self,
        right: torch.Tensor,
        predicted: torch.Tensor,
        labelled: torch.Tensor,
        presence_share: float,
    ) -> MetricPrediction:
        """Predict scores from expected counts; see `score_models.predict_scores`."""
        parts = [
            predict_scores(right, predicted, labelled, metric, presence_share) for metric in METRICS
        ]
        shares = self._values["shares"].detach().softmax(0).to(right.dtype)
        candidates = torch.stack([part.scores for part in parts], -1)
        mixed = candidates @ shares
        with torch.no_grad():
            warped, slopes = (part.to(mixed.dtype) for part in self._warped(mixed.double()))
        # The value of the warped score, with its slope in the mixed one.
        scores = warped + slopes * (mixed - mixed.detach())
        hits = torch.stack([part.hit_weights for part in parts], -1) @ shares
        everywhere = torch.stack([part.class_weights for part in parts], -1) @ shares
        slopes = slopes[..., None]
        return MetricPrediction(scores, hits * slopes, everywhere * slopes, candidates.detach())

    def observe(
        self, candidates: torch.Tensor, scores: torch.Tensor, covariance: torch.Tensor
    ) -> None:
        """Take in a group of scores of each image that nothing was learned from yet.

        Args:
            candidates: (B, K, S, M) what each metric predicts of them.
            scores: (B, K, S).
            covariance: (B, S, K, K) of the formula's predictions under vague beliefs.
        """
        values = self._values
        observed = scores.double().permute(2, 0, 1)  # (S, B, K)
        self._star_count.observe(observed)
        if mean_over_ranks((observed.max() == observed.min()).double()) == 1:
            return  # nothing is said of any formula
        if not self._knows_noise:
            self._begin(observed)
        stars, candidates = self.stars, candidates.double()
        mixed = (candidates @ values["shares"].softmax(0)).permute(2, 0, 1)
        expected, slopes = self._warped(mixed)
        common_part = expected.mean(2, keepdim=True)
        residual = observed - common_part - self._gain * (expected - common_part)
        # The covariance was made with the slopes of now: 1, with the gradient of the new slopes.
        grown = slopes / slopes.detach()
        spread = covariance.double().transpose(0, 1) * grown[..., None] * grown[..., None, :]
        one = torch.ones(2 * [observed.shape[2]], dtype=torch.float64, device=observed.device)
        noise = (values["noise"].exp() + _LEAST_VARIANCE)[:, None, None, None]
        common = values["offset"].exp()[:, None, None, None]
        spread = spread + noise * torch.eye(len(one), device=one.device)
        if stars is None:
            surprise = _normal_surprise(residual, spread + common * one)
        else:  # each rating by itself: noise is all that is not expected of it
            deviations = spread.diagonal(dim1=2, dim2=3).sqrt()
            surprise = _rating_surprise(observed, stars, expected, deviations)
        loss = surprise.mean(1).sum()
        for name in ("shares", "size", "power"):
            moved = values[name] - self._start[name]
            loss = loss + 0.5 * self.config.hold * moved.square().sum()
        self._optimizer.zero_grad()
        loss.backward()
        for name, value in values.items():
            if stars is None and name in _FOLLOWED:
                value.grad = None
            elif value.grad is not None:  # ratings tell nothing of the offset
                value.grad.copy_(mean_over_ranks(value.grad))
        self._optimizer.step()
        if stars is None:
            # At last: what is likely was judged by predictions made without these scores.
            self._follow(candidates, scores.double())

    @torch.no_grad()
    def _follow(self, candidates: torch.Tensor, scores: torch.Tensor) -> None:
        """Take shares, size and gain from how scores (B, K, S) follow metrics (B, K, S, M)."""
        values = self._values
        mixed = candidates @ values["shares"].softmax(0)
        slopes = self._warped(mixed)[1].mean(1, keepdim=True) / values["size"].exp()
        weights = self._weights.observe(slopes[..., None] * candidates, scores)
        total = weights.sum()
        if total > 0:
            values["shares"].copy_((weights / total).clamp(min=_LEAST_SHARE).log())
        size = total.clamp(_LEAST_SIZE, 1)
        values["size"].copy_(size.log())
        self._gain = total / size

    @torch.no_grad()
    def _begin(self, observed: torch.Tensor) -> None:
        """Take the first variances of offset and noise from the first scores (S, B, K)."""
        within = mean_over_ranks(observed.var(2).mean(1)).clamp(min=_LEAST_VARIANCE)
        level = mean_over_ranks(observed.square().mean((1, 2))).clamp(min=_LEAST_VARIANCE)
        share = self.config.first_noise if self.stars is None else 1.0
        self._values["noise"].copy_((share * within).log())
        self._values["offset"].copy_(level.log())
        self._knows_noise = True

    def get_state(self) -> dict[str, Any]:
        """All that decides what it predicts and how it goes on."""
        return {
            "values": {name: value.detach().clone() for name, value in self._values.items()},
            "knows_noise": self._knows_noise,
            "weights": self._weights.get_state(),
            "gain": self._gain.clone(),  # as it is logged, and a file holds no tensor twice
            **self._star_count.get_state(),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
        }

    @torch.no_grad()
    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        for name, value in self._values.items():
            value.copy_(state["values"][name])
        self._knows_noise = state["knows_noise"]
        if "weights" in state:  # of an earlier version, which had none: the first ones
            self._weights.set_state(state["weights"])
            self._gain = state["gain"].to(self._gain)
        self._star_count.set_state(state)
        self._optimizer.load_state_dict(state["optimizer"])


def _normal_surprise(residual: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Minus the log-likelihood (S, B), but for a constant, of residuals (S, B, K) that err so."""
    factor = torch.linalg.cholesky(spread)
    white = torch.linalg.solve_triangular(factor, residual[..., None], upper=False)[..., 0]
    return 0.5 * white.square().sum(2) + factor.diagonal(dim1=2, dim2=3).log().sum(2)


def _rating_surprise(
    ratings: torch.Tensor, stars: int, expected: torch.Tensor, deviations: torch.Tensor
) -> torch.Tensor:
    """Minus the log-likelihood (S, B) of ratings (S, B, K), each by itself: of intervals."""
    half = 0.5 / stars
    low = torch.where(ratings < half, -torch.inf, (ratings - half - expected) / deviations)
    high = torch.where(ratings > 1 - half, torch.inf, (ratings + half - expected) / deviations)
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    return -mass.clamp(min=_LIKELY).log().sum(2)
