"""The network that answers, where one was trained before: the start, until others score better.

What learns may be worse for a while than what it started from. So there is an incumbent, whose
answers are what is validated and saved. Among the maps of a batch that is scored there are its own
and those of a challenger; as soon as the latter score better, that network is the new incumbent.
Labels are not asked. The challenger has the weights of what learns, averaged over its last updates:
a network that learns fast is better on average than at any time.

Source: exponential averages of weights (Polyak and Juditsky, 1992; Tarvainen and Valpola, arXiv
1703.01780).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rss_agents.distributed import mean_over_ranks
from rss_agents.networks.decisions import MetricDecision
from rss_agents.networks.segmentation_network import SegmentationNetwork

COMPARED_MAPS = 3  # at most: of the incumbent, and two answers of the network that learns
_DECAY = 0.8  # of the running differences, per batch that is scored
_WEIGHT_DECAY = 0.98  # of the average of the weights, per batch


class Incumbent:
    """Compares the answers of a network that learns with those of the best one so far.

    Attributes:
        network: The incumbent, in evaluation mode.
        challenger: The running average of the network that learns, in evaluation mode.
    """

    def __init__(
        self, network: SegmentationNetwork, least_gain: float = 0.0, gain_errors: float = 0.5
    ):
        """Begin with a trained network, which is copied.

        Args:
            network: The first incumbent.
            least_gain: By which share of its score others have to score better, beside chance.
            gain_errors: By how many standard errors beyond that. Few: a network that learned more
                images is better on new ones than its scores could prove for long, and what is
                worse for a while scores far less.
        """
        self.network, self.least_gain = network.frozen_copy(), least_gain
        self.gain_errors = gain_errors
        average = get_ema_multi_avg_fn(_WEIGHT_DECAY)
        self._average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.challenger = cast(SegmentationNetwork, self._average.module)
        device = network.mean.device
        # Of the most likely classes, and of decisions for the metric: what they score more.
        self._gains = torch.zeros(2, dtype=torch.float64, device=device)
        self._variances = torch.zeros(2, dtype=torch.float64, device=device)

    def follow(self, network: SegmentationNetwork) -> None:
        """Take the weights of the network that learns into the challenger's, once per batch."""
        self._average.update_parameters(network)

    def answers(
        self, cells: torch.Tensor, own_cells: torch.Tensor, decide: MetricDecision | None
    ) -> torch.Tensor:
        """Maps to be scored: the incumbent's, and one or two of the challenger.

        Args:
            cells: (B, C, P) beliefs of the challenger, of all scales.
            own_cells: (B, C, P) those of the incumbent.
            decide: The decisions of the network that learns; None if they are not learned.

        Returns:
            (B, 3, P) uint8: the incumbent's answers, the most likely classes, the decisions. Or
            (B, 2, P) without the last.
        """
        parts = [_decided(own_cells, self.network.decide), cells]
        if decide is not None:
            parts.append(_decided(cells, decide))
        return torch.stack([part.argmax(1) for part in parts], 1).to(torch.uint8)

    def compare(self, scores: torch.Tensor, decide: MetricDecision) -> None:
        """Take in the scores of answers, and change the incumbent if they say so.

        Args:
            scores: (B, 3) or (B, 2) of the maps of `answers`.
            decide: The decisions of the network that learns.
        """
        more = scores[:, 1:].double() - (1 + self.least_gain) * scores[:, :1].double()
        gain = mean_over_ranks(more.mean(0))
        spread = mean_over_ranks((more - gain).square().mean(0)) / len(more)
        gains, variances = self._gains[: len(gain)], self._variances[: len(gain)]
        gains.mul_(_DECAY).add_(gain, alpha=1 - _DECAY)
        variances.mul_(_DECAY**2).add_(spread, alpha=(1 - _DECAY) ** 2)
        surplus = gains - self.gain_errors * variances.sqrt()
        best = int(surplus.argmax())
        if surplus[best] <= 0:
            return
        self.network.load_state_dict(self.challenger.state_dict())
        self.network.decide.load_state_dict(decide.state_dict())
        if best == 0:
            self.network.decide.forget()
        self._gains.zero_()
        self._variances.zero_()

    def get_state(self) -> dict[str, Any]:
        """The incumbent, and how the comparison stands."""
        return {
            "network": self.network.state_dict(),
            "average": self._average.state_dict(),
            "gains": self._gains,
            "variances": self._variances,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self.network.load_state_dict(state["network"])
        if "average" in state:  # not of an earlier version: it begins with what learns then
            self._average.load_state_dict(state["average"])
        self._gains.copy_(state["gains"])
        self._variances.copy_(state["variances"])


def _decided(cells: torch.Tensor, decide: MetricDecision) -> torch.Tensor:
    """What the classes of cells (B, C, P) are worth; their probabilities, if nothing is known."""
    return decide.worth(cells) if decide.has_observed else cells
