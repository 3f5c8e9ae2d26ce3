"""A training run as the loop drives it: updates, and the state that it goes on from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rss_agents.algorithms.base import Learner, Progress
from rss_agents.distributed import rank
from rss_agents.networks.checkpoint import NetworkDescription
from rss_agents.networks.segmentation_network import Predictor, SegmentationNetwork
from rss_agents.training.answers import AnswerScores
from rss_agents.training.device_adamw import DeviceAdamW
from rss_agents.training.optimisation import Check, update_once
from rss_agents.training.processes import distribute
from rss_env.captured_rounds import CapturedRounds
from rss_env.errors import InputError
from rss_env.feedback import AnyScorer
from rss_env.host_inputs import HostInputs
from rss_env.scenes import Scenes
from rss_env.streamed_images import StreamedImages

Metrics = dict[str, torch.Tensor | float]
_TOLD = ("weight_decay", "initial_lr", "max_lr", "min_lr")  # of an optimiser, by the options
_LENGTH = ("total_steps", "_schedule_phases")  # of the schedule, by the options


class Run(ABC):
    """One process's part of a training, opened and checked: what the training loop drives.

    Attributes:
        network: Learns to predict the classes of images.
        description: Of the network, for checkpoints; None if it is not one of ours.
        validation: Images to validate on; None except in the first process.
        scorer: In place of labels; None for labels.
        answer_scores: Of answers for validation images without labels; None if nobody is asked.
        training_digest: Of the images and labels it is trained on.
        queries_per_update: Scores that this process asks for in one update.
        device: Where it is trained.
        objective: Of `rss`, as it was settled; None of other algorithms.
    """

    network: Predictor
    description: NetworkDescription | None
    validation: Scenes | None
    scorer: AnyScorer | None = None
    answer_scores: AnswerScores | None = None
    training_digest: Callable[[], str]
    queries_per_update: int
    device: torch.device
    objective: str | None = None

    @abstractmethod
    def update(self, progress: float, check: Check | None = None) -> Metrics:
        """Learn from a new batch, and return scalars to log; see `update_once`."""

    @property
    def answering(self) -> Predictor:
        """The network whose answers are validated and saved: the same, or a better one."""
        return self.network

    def queries_before(self, update: int) -> int:
        """Scores that this process asks for in the first `update` updates."""
        return update * self.queries_per_update

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """The state that decides what this process learns next; of the network, on rank 0 only."""

    @abstractmethod
    def set_state(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Go on exactly from the state of rank 0 and that of this rank.

        Raises:
            InputError: If it does not fit the network, the optimiser or the learner.
        """

    def last_batch(self) -> Mapping[str, torch.Tensor]:
        """The batch of the last loss; see `Learner.last_batch`."""
        return {}

    def distribute(self) -> None:  # noqa: B027 (one process needs nothing)
        """Average gradients over the ranks from now on; to be called on all of them."""

    def save(self, folder: Path) -> None:  # noqa: B027 (most write nothing more)
        """Write what a checkpoint does not hold into the run's folder; nothing by default."""


@dataclass
class GradientRun(Run):
    """A run of one of our learners, with an optimiser and a schedule of its learning rate."""

    network: SegmentationNetwork  # pyright: ignore[reportIncompatibleVariableOverride]
    learner: Learner
    validation: Scenes | None
    description: NetworkDescription  # pyright: ignore[reportIncompatibleVariableOverride]
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    training_digest: Callable[[], str]
    clip_gradient: float | None = None  # largest norm
    batches: int = 1  # of an update
    scorer: AnyScorer | None = None
    answer_scores: AnswerScores | None = None
    captures: bool = False  # whether updates are replayed, as on CUDA
    objective: str | None = None
    streamed: StreamedImages | None = None  # where images come from, if they stay on the host

    def __post_init__(self) -> None:
        self.queries_per_update = self.batches * self.learner.queries_per_update
        self.device = self.network.mean.device
        self._replayed: CapturedRounds[dict[str, torch.Tensor]] | None = None
        self._progress, self._check = 0.0, None
        self._begin_capture()

    def _begin_capture(self) -> None:
        """Make ready to replay updates, of tensors that stay where they are from now on."""
        if not self.captures:
            return
        self._inputs = HostInputs(self.device, keeps=True)
        self.learner.replace_inputs(self._inputs)
        if isinstance(self.optimizer, DeviceAdamW):
            self.optimizer.inputs = self._inputs
        self._replayed = CapturedRounds("the update", self._update, self._inputs)

    @property
    def answering(self) -> Predictor:
        """See `Run.answering`."""
        return self.learner.answering or self.network

    def update(self, progress: float, check: Check | None = None) -> Metrics:
        """See `Run.update`: the losses of new batches, a step for each, and the schedule's."""
        self._progress, self._check = progress, check
        metrics = self._update() if self._replayed is None else self._replayed()
        if "loss" in metrics:  # otherwise nothing was learned
            self.schedule.step()
        told: Metrics = {**metrics, "learning_rate": float(self.schedule.get_last_lr()[0])}
        if self.streamed is not None:
            told["streamed_megabytes_per_second"] = self.streamed.megabytes_per_second
        return told

    def _update(self) -> dict[str, torch.Tensor]:
        """An update without what only the host has to do, and with no number of its own."""
        progress: Progress = self._progress
        if self._replayed is not None:
            progress = self._inputs.send(lambda: (np.array(self._progress),))[0]
        return update_once(
            self.learner,
            self.optimizer,
            progress,
            clip_gradient=self.clip_gradient,
            check=self._check,
            batches=self.batches,
        )

    def get_state(self) -> dict[str, Any]:
        """See `Run.get_state`."""
        own = {"learner": self.learner.get_state(), "random": random_state(self.device)}
        if rank() > 0:
            return own
        return own | {
            "network": values_of(self.network),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def set_state(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """See `Run.set_state`."""
        restore_values(self.network, shared["network"])
        # What the options say stays theirs: they may be allowed to be others than before.
        told = [{n: g[n] for n in _TOLD if n in g} for g in self.optimizer.param_groups]
        length = {n: v for n, v in self.schedule.state_dict().items() if n in _LENGTH}
        try:
            self.optimizer.load_state_dict(shared["optimizer"])
        except ValueError as error:
            raise InputError(f"the training state has another optimiser: {error}") from None
        for group, values in zip(self.optimizer.param_groups, told, strict=True):
            group.update(values)
        self.schedule.load_state_dict({**shared["schedule"], **length})
        self.learner.set_state(own["learner"])
        set_random_state(own["random"], self.device)
        self._begin_capture()  # parts of the state are in new tensors

    def queries_before(self, update: int) -> int:
        """See `Run.queries_before`."""
        return self.batches * self.learner.queries_before(update)

    def last_batch(self) -> Mapping[str, torch.Tensor]:
        """See `Learner.last_batch`."""
        return self.learner.last_batch()

    def distribute(self) -> None:
        """See `Run.distribute`."""
        self.learner.replace_network(distribute(self.network))


def values_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers by name, also those that no checkpoint holds."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@torch.no_grad()
def restore_values(module: nn.Module, saved: Mapping[str, torch.Tensor]) -> None:
    """Give a module's parameters and buffers the values they had.

    Raises:
        InputError: If they are not of this module.
    """
    values = values_of(module)
    for name in values.keys() - saved.keys():
        long_term = name.replace("decide._recent", "decide._seen")
        if long_term in saved:  # of an earlier version, which had that mean alone
            saved = {**saved, name: saved[long_term]}
    if {name: value.shape for name, value in values.items()} != {
        name: value.shape for name, value in saved.items()
    }:
        raise InputError("the training state is of another network")
    for name, value in values.items():
        value.copy_(saved[name])


def random_state(device: torch.device) -> list[torch.Tensor]:
    """The state of torch's global generators, on the CPU and on a device."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_random_state(states: Sequence[torch.Tensor], device: torch.device) -> None:
    """Go on from a state of `random_state`."""
    torch.set_rng_state(states[0])
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
