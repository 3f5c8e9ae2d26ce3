"""What a difference between the scores of two maps proves, if scores are noisy.

The best of many maps by noisy scores is the luckiest. What a map scores more than another, from
which it differs in a share h of the cells, is taken for -loss * h on average, with a variance of
noise + slope * h: what is left of it where maps hardly differ is noise. So much is expected before
a map is scored, and its score moves that as far as it is more than noise. Exact scores are taken as
they are.

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
        # Sums of 1, h, h**2, h**3, of d**2 and d**2 * h, and of d * h and d * h**2.
        self._sums = torch.zeros(8, dtype=torch.float64, device=device)

    def observe(self, share: torch.Tensor, difference: torch.Tensor) -> None:
        """Take in what maps score more than others, and the shares of the cells that differ.

        Both of any shape. Maps that are the same say nothing: most scorers give them one score.
        """
        h, d = share.double(), difference.double()
        square = d.square() * (h > 0)
        terms = [(h > 0).double(), h, h.square(), h**3, square, square * h, d * h, d * h.square()]
        self._sums += sum_over_ranks(torch.stack([term.sum() for term in terms]))

    @property
    def loss(self) -> torch.Tensor:
        """What maps of which all cells differ lose on average; at least 0."""
        return (-self._sums[6] / self._sums[2].clamp(min=_TINY)).clamp(min=0)

    @property
    def variances(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of a difference: of the noise, and the slope of what is real; at least 0."""
        count, share, square, cube, *rest = self._sums
        count, loss = count.clamp(min=1), self.loss
        # Sums of squared residuals r**2, and of r**2 * h, with r = d + loss * h.
        total = rest[0] + 2 * loss * rest[2] + loss**2 * square
        product = rest[1] + 2 * loss * rest[3] + loss**2 * cube
        area = count * square - share.square()
        slope = (count * product - share * total) / area.clamp(min=_TINY)
        noise = (total - slope * share) / count
        none = torch.zeros_like(slope)
        real_alone, noise_alone = product / square.clamp(min=_TINY), total / count
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
        return {"sums": self._sums}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._sums.copy_(state["sums"])
