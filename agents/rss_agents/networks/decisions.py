"""From beliefs to decisions: which class to answer with, if a metric other than accuracy is asked.

The most likely class serves pixel accuracy. Under mIoU a pixel of a class that is rare or hard is
worth more than one of a class that is everywhere, so that the rarer class is the better answer even
where it is somewhat less likely.
"""

from __future__ import annotations

import torch
from torch import nn

from rss_agents.distributed import sum_over_ranks
from rss_agents.losses.score_model_config import MetricModelConfig
from rss_agents.losses.score_models import class_values

_LEAST_BELIEF = 0.25  # of 1 / C: mean probability of a class, where it is, to be answered with
_RECENT = 0.9  # decay of the mean that it is taken of: beliefs in what is nowhere fade by decades


class MetricDecision(nn.Module):
    """Values classes by what they add to a metric, once it has seen what a network believes.

    It lies behind a network in evaluation mode. It learns nothing of labels: only how much of the
    training images each class takes up in the network's own probabilities, and how sure they are.
    """

    gains: torch.Tensor
    costs: torch.Tensor
    temperature: torch.Tensor
    _seen: torch.Tensor
    _recent: torch.Tensor

    def __init__(self, num_classes: int):
        """Begin with nothing seen: logits pass unchanged."""
        super().__init__()
        for name in ("gains", "costs"):
            self.register_buffer(name, torch.zeros(num_classes))
        self.register_buffer("temperature", torch.ones(()))
        for name in ("_seen", "_recent"):
            self.register_buffer(name, torch.zeros(2, num_classes), persistent=False)

    @torch.no_grad()
    def observe(
        self,
        probabilities: torch.Tensor,
        metric: str,
        temperature: float = 1.0,
        model: MetricModelConfig | None = None,
    ) -> None:
        """Take in a network's probabilities of a batch, on all ranks.

        Args:
            probabilities: (B, C, H, W) of the pixels' classes.
            metric: What decisions shall serve; see `rss_env.rewards`.
            temperature: Of the softmax that made them of logits.
            model: The hyper-parameters of the metric model; None for the defaults.
        """
        model = model or MetricModelConfig()
        pixels = probabilities.flatten(2)
        squares = torch.linalg.vector_norm(pixels, dim=2).square()
        sums = torch.stack([squares.sum(0), pixels.sum(2).sum(0)])
        sums = sum_over_ranks(sums)
        for seen, decay in ((self._seen, model.decision_memory), (self._recent, _RECENT)):
            seen.mul_(decay).add_(sums, alpha=1 - decay)
        right, share = self._seen / self._seen[1].sum()
        gains, costs = class_values(right, share, metric, model.presence_share)
        # Of a class that is nowhere, tails of the softmax are all there is. Its share is next to
        # nothing, so that a little of it would seem to be worth most.
        is_tail = self._recent[0] <= _LEAST_BELIEF / len(share) * self._recent[1]
        gains, costs = gains.masked_fill(is_tail, 0), costs.masked_fill(is_tail, 0)
        costs = torch.where(is_tail, 1 + costs.max(), costs)  # below whatever others are worth
        self.gains.copy_(gains)
        self.costs.copy_(costs)
        self.temperature.fill_(temperature)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Values (B, C, H, W) whose largest is the decision; the logits, if nothing was seen."""
        return self.values(logits) if self.has_observed else logits

    def forget(self) -> None:
        """Begin with nothing seen again: logits pass unchanged."""
        for values in (self.gains, self.costs, self._seen, self._recent):
            values.zero_()
        self.temperature.fill_(1)

    @property
    def has_observed(self) -> bool:
        """True once anything was seen, so that there is a metric to decide for."""
        return bool(self.gains.any())

    def values(self, logits: torch.Tensor) -> torch.Tensor:
        """The worth of each class of each pixel, (B, C, H, W), once something was seen."""
        return self.worth((logits / self.temperature).softmax(1))

    def worth(self, probabilities: torch.Tensor) -> torch.Tensor:
        """The same of probabilities (B, C, ...), whatever made them."""
        shape = (1, -1, *[1] * (probabilities.ndim - 2))
        return probabilities * self.gains.view(shape) - self.costs.view(shape)
