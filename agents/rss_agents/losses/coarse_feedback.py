"""Exact scores that an order of maps, or a number of stars, stands for; and which are stars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from rss_agents.distributed import mean_over_ranks
from rss_env.feedback import rank_within_group

_MOST_STARS = 10  # scores that are all multiples of a tenth, a ninth, ... are ratings
_WHOLE = 1e-3  # as far from a whole number a multiple may be
_FAR = 1e3  # beyond every score: the lowest rating has no lower end, the highest no upper
_LEAST, _MOST = 1e-6, 1 - 1e-4  # bounds on the share of the variance that a rating leaves open


class StarCount:
    """Tells whether the scores that come are ratings: multiples of 1 / n, on all ranks.

    Attributes:
        stars: The smallest such n; None if there is none.
    """

    def __init__(self, device: torch.device | str):
        """Begin with whatever n, as nothing speaks against it."""
        self._candidates = torch.arange(1, _MOST_STARS + 1, device=device)
        self._fits = torch.ones(_MOST_STARS, dtype=torch.bool, device=device)
        self.stars: int | None = 1

    def observe(self, scores: torch.Tensor) -> None:
        """Take in scores of any shape."""
        if self.stars is None:
            return
        multiples = scores.double().flatten() * self._candidates[:, None]
        whole = ((multiples - multiples.round()).abs() < _WHOLE).all(1)
        self._fits &= mean_over_ranks(whole.double()) == 1
        fitting = self._candidates[self._fits].tolist()
        self.stars = fitting[0] if fitting else None

    def get_state(self) -> dict[str, Any]:
        """What the scores so far have left."""
        return {"fits": self._fits.clone(), "stars": self.stars}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._fits.copy_(state["fits"])
        self.stars = state["stars"]


def scores_from_order(
    scores: torch.Tensor, predicted: torch.Tensor, variances: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores that an order of maps stands for: normal scores in the group's expected spread.

    Args:
        scores: (B, V, K) higher for better; ties are of the same place.
        predicted: (B, V, K) predicted scores.
        variances: (B, V) mean variance of a score about its prediction, less the group's own mean.

    Returns:
        Scores (B, V, K), and the variance (B, V) that the order leaves open: all of it for a group
        of ties.

    Source: normal scores by Blom's formula (Statistical Estimates and Transformed Beta-Variables,
    1958).
    """
    group_size = scores.shape[2]
    places = rank_within_group(scores.flatten(0, 1)).view_as(scores) * (group_size - 1)
    normal = torch.special.ndtri((places.to(predicted.dtype) + 0.625) / (group_size + 0.25))
    spread = predicted.detach().var(2) + variances.clamp(min=0)
    return normal * spread.sqrt()[..., None], (1 - normal.square().mean(2)) * spread


def scores_from_ratings(
    ratings: torch.Tensor, stars: float, predicted: torch.Tensor, variances: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores that ratings stand for: what would leave the same belief of the exact score.

    A rating says that the score lies within half a star. A normal belief of the score, cut to that
    interval, has a mean and a variance; the scores and noise returned are the normal observation
    that leads to both. A rating that was expected says next to nothing.

    Args:
        ratings: (B, V, K) in 0..1.
        stars: n, of which a rating is a multiple of 1 / n.
        predicted: (B, V, K) mean of the belief.
        variances: (B, V, K) its variance.

    Returns:
        Scores and their noise variances, (B, V, K) each.

    Source: moment matching as in expectation propagation (Minka, UAI 2001).
    """
    mean, variance = predicted.detach().double(), variances.double()
    deviation, half = variance.sqrt(), 0.5 / stars
    low = torch.where(ratings < half, -_FAR, ratings.double() - half)
    high = torch.where(ratings > 1 - half, _FAR, ratings.double() + half)
    low, high = (low - mean) / deviation, (high - mean) / deviation
    above = low > 0  # mirrored to the lower tail, where the logarithms are exact
    low, high = torch.where(above, -high, low), torch.where(above, -low, high)
    below_low, below_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    log_mass = below_high + torch.log1p(-torch.exp((below_low - below_high).clamp(max=-1e-12)))

    def density(ends: torch.Tensor) -> torch.Tensor:  # over the mass of the interval
        return torch.exp(-0.5 * (ends.square() + math.log(2 * math.pi)) - log_mass)

    at_low, at_high = density(low), density(high)
    shift = at_low - at_high
    left = (
        1 + torch.where(at_low > 0, low * at_low, 0) - torch.where(at_high > 0, high * at_high, 0)
    )
    left = (left - shift.square()).clamp(_LEAST, _MOST)  # share of the variance left open
    shift = torch.where(above, -shift, shift)
    noise = variance * left / (1 - left)
    scores = mean + deviation * shift / (1 - left)
    return scores.to(predicted.dtype), noise.to(predicted.dtype)
