"""The interface of a learner: losses, whatever it learns from, and its state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.errors import InputError
from rss_env.host_inputs import HostInputs

Progress: TypeAlias = float | torch.Tensor
"""Share of the training done, 0..1: a number, or a tensor () where an update is replayed."""


class Learner(ABC):
    """Holds data and turns it into losses.

    Attributes:
        network: uint8 (B, H, W, 3) to logits (B, C, H/stride, W/stride). Where there are several
            processes, one of the same parameters that averages gradients takes its place.
        queries_per_update: Scores that this process asks for in one update; 0 for learning from
            labels.
    """

    network: nn.Module
    queries_per_update: int = 0

    @property
    def answering(self) -> SegmentationNetwork | None:
        """The network whose answers count, if it is not the one that learns."""
        return None

    @abstractmethod
    def loss(self, progress: Progress = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One batch's loss, to be minimised, and scalar tensors to log, `score` among them.

        Args:
            progress: Share of the training done, 0..1.
        """

    def losses(
        self, progress: Progress = 0.0
    ) -> Iterator[tuple[torch.Tensor | None, dict[str, torch.Tensor]]]:
        """The losses of one update, each to be minimised by a step before the next is asked for.

        None where there is nothing to be learned, and no step to be taken.
        """
        yield self.loss(progress)

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """The state that decides this process's next losses, beside the network.

        Tensors and plain values, in mappings and lists.
        """

    @abstractmethod
    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from a state of `get_state`.

        Raises:
            InputError: If it does not fit.
        """

    def replace_network(self, network: nn.Module) -> None:
        """Learn through another module of the same parameters, one that averages gradients."""
        self.network = network

    def replace_inputs(self, inputs: HostInputs) -> None:
        """Be told by other means what the host has to say in each update: images, random numbers.

        With inputs that keep their tensors, updates may be replayed: they then read nothing else
        that changes, but tensors that they change in place.

        Raises:
            InputError: If its updates cannot be replayed, as by default.
        """
        raise InputError(f"updates of {type(self).__name__} cannot be replayed: --no-capture")

    def queries_before(self, update: int) -> int:
        """Scores that this process asks for in the first `update` updates."""
        return update * self.queries_per_update

    def last_batch(self) -> dict[str, torch.Tensor]:
        """The batch of the last loss, for a look at what went wrong; nothing by default.

        `images` (B, H, W, 3) uint8, their numbers `index` (B,), and what was learned from.
        """
        return {}
