"""What a difference between the scores of two maps proves, if scores are noisy.

The best of many maps by noisy scores is the luckiest. How noisy they are is seen from pairs of maps
that were drawn alike: the difference of their scores has a variance of noise + slope * h where they
differ in a share h of the cells, so that what is left where they hardly differ is noise. A map that
varies an answer in a share h is worth -loss * h more on average, which is taken off before. So much
is expected before a map is scored, and its score moves that as far as it is more than noise. Exact
scores are taken as they are.

Source: empirical Bayes, the posterior mean of normal differences (Efron and Morris, 1973), with
numbers by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rss_agents.distributed import sum_over_ranks

_TINY = 1e-12


def changed_share(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The share (..., ) of the cells in which maps (..., P) differ from others (..., P)."""
    return (maps != others).double().mean(-1)


class ScoreEvidence:
    """The noise of scores, and what varied maps lose, told by all maps that were scored."""

    def __init__(self, device: torch.device | str):
        """Begin with nothing known."""
        # Of pairs: their number, and sums of h, h**2, squared differences d**2 and d**2 * h.
        self._pairs = torch.zeros(5, dtype=torch.float64, device=device)
        # Of varied maps and answers: sums of d * h and h**2.
        self._varied = torch.zeros(2, dtype=torch.float64, device=device)

    def observe_pairs(self, maps: torch.Tensor, scores: torch.Tensor, varied: torch.Tensor) -> None:
        """Take in maps that were drawn alike, and their scores.

        Maps that are the same say nothing: most scorers give them one score.

        Args:
            maps: (B, K, P).
            scores: (B, K).
            varied: (B, K), the share of the cells in which each differs from an answer.
        """
        count = maps.shape[1] // 2 * 2
        share = changed_share(maps[:, :count:2], maps[:, 1:count:2])
        scores = scores.double() + self.loss * varied
        square = (scores[:, :count:2] - scores[:, 1:count:2]).square()
        differs = (share > 0).double()
        terms = [differs, share, share.square(), square * differs, square * share]
        self._pairs += sum_over_ranks(torch.stack([term.sum() for term in terms]))

    def observe_variations(self, share: torch.Tensor, difference: torch.Tensor) -> None:
        """Take in what varied maps score more than answers, (B, K), and how far they differ."""
        terms = [(share * difference).sum(), share.square().sum()]
        self._varied += sum_over_ranks(torch.stack(terms))

    @property
    def loss(self) -> torch.Tensor:
        """What a map loses on average of which all cells are varied; at least 0."""
        return (-self._varied[0] / self._varied[1].clamp(min=_TINY)).clamp(min=0)

    @property
    def variances(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of a difference: of the noise, and the slope of what is real; at least 0."""
        count, share, square, total, product = self._pairs
        area = count * square - share.square()
        slope = (count * product - share * total) / area.clamp(min=_TINY)
        noise = (total - slope * share) / count.clamp(min=1)
        none = torch.zeros_like(slope)
        real_alone, noise_alone = product / square.clamp(min=_TINY), total / count.clamp(min=1)
        return (
            torch.where(slope > 0, noise.clamp(min=0), noise_alone),
            torch.where(slope > 0, torch.where(noise > 0, slope, real_alone), none),
        )

    def expected_gains(self, share: torch.Tensor, difference: torch.Tensor) -> torch.Tensor:
        """What maps are expected to be worth more than others.

        Args:
            share: (B, K) of the cells in which they differ.
            difference: (B, K), what they score more.
        """
        noise, slope = self.variances
        real = slope * share
        before = -self.loss * share
        return before + real / (real + noise + _TINY) * (difference - before)

    def get_state(self) -> dict[str, Any]:
        """All that is known."""
        return {"pairs": self._pairs, "varied": self._varied}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._pairs.copy_(state["pairs"])
        self._varied.copy_(state["varied"])
