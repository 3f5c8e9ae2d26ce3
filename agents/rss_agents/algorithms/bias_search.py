"""A search for the biases of a network's classes, by scores of maps that disturb them.

A network that was trained on few labels, or for another end, often draws some classes too seldom
and others too readily. That is C numbers, which some hundred scores of whatever kind can tell: maps
of an image are drawn with disturbed biases, and the biases move to where scores are higher.

Source: evolution strategies with antithetic pairs (Salimans et al., arXiv 1703.03864), of disturbed
biases only, and Adam on what they estimate.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rss_agents.algorithms.bias_search_config import BiasSearchConfig
from rss_agents.distributed import mean_over_ranks, own_rows, world_size
from rss_agents.random_draws import RandomDraws


class BiasSearch:
    """Moves the biases of a network's last layer, for a number of batches.

    Attributes:
        batches: How many batches of scores it takes; more or fewer once that is known better.
    """

    def __init__(self, bias: nn.Parameter, batches: int, config: BiasSearchConfig):
        """Begin with the biases (C,) that there are, which are changed in place.

        Args:
            bias: (C,) of the last layer.
            batches: How many batches of scores it takes.
            config: How it searches, settled.
        """
        assert config.spread is not None
        assert config.share is not None
        self.batches, self._bias, self._config = batches, bias, config
        self._spread, self._share = config.spread, config.share
        self._done = 0
        self._noise: torch.Tensor | None = None
        self._optimizer = torch.optim.Adam([bias], config.rate, betas=(0.8, 0.95))

    @property
    def is_over(self) -> bool:
        """Whether all its batches were scored."""
        return self._done >= self.batches

    def draw(self, probabilities: torch.Tensor, num_maps: int, draws: RandomDraws) -> torch.Tensor:
        """Maps (B, K, P) uint8 with disturbed biases, in pairs of opposite noise.

        Args:
            probabilities: (B, C, P) of the classes of cells.
            num_maps: K.
            draws: Random numbers, alike on all ranks.
        """
        batch, classes, _ = probabilities.shape
        shape = (batch * world_size(), -(-num_maps // 2), classes)
        disturbed = own_rows(draws.uniform(*shape) < self._share)
        noise = own_rows(draws.normal(*shape)) * disturbed
        self._noise = torch.stack([noise, -noise], 2).flatten(1, 2)[:, :num_maps]
        logits = probabilities.clamp(min=1e-8).log()[:, None]
        moved = logits + self._spread * self._noise[..., None].to(logits.dtype)
        return moved.argmax(2).to(torch.uint8)

    def step(self, scores: torch.Tensor) -> None:
        """Move the biases by the scores (B, K) of the first K maps drawn, the same on all ranks.

        They stay where they are if K is 0: a batch that was scored for another end.
        """
        self._done += 1
        if not scores.shape[1]:
            return
        assert self._noise is not None
        surplus = scores - scores.mean(1, keepdim=True)
        gradient = (surplus[..., None] * self._noise[:, : scores.shape[1]]).mean((0, 1))
        left = max(1 - (self._done - 1) / self.batches, 0.0)
        self._optimizer.param_groups[0]["lr"] = self._config.rate * left**0.5
        held, self._bias.grad = self._bias.grad, -mean_over_ranks(gradient).to(self._bias.dtype)
        self._optimizer.step()
        self._bias.grad = held

    def get_state(self) -> dict[str, Any]:
        """How far it has come, of how far."""
        return {
            "done": self._done,
            "batches": self.batches,
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self._done, self.batches = state["done"], state.get("batches", self.batches)
        self._optimizer.load_state_dict(state["optimizer"])
