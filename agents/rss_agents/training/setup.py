"""What a training run needs: data, environment, network and learner, opened and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import torch
from torch import nn

from rss_agents.algorithms.base import Learner
from rss_agents.algorithms.registry import acts_at_one_scale, build_learner
from rss_agents.distributed import rank
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, start_from
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.ratings.person import PersonScorer
from rss_agents.training.config import TrainConfig
from rss_agents.training.processes import own_images, stop_asked_for
from rss_env.arguments import check_device
from rss_env.errors import InputError
from rss_env.feedback import Feedback, Scorer
from rss_env.scenes import Scenes, load_scenes
from rss_env.vector_env import RSSVectorEnv

DEFAULT_VAL_SPLIT = {"Folder": None}  # every other data set calls it "val"


@dataclass
class Run:
    """Everything a training run needs, opened and checked.

    Attributes:
        network: What is trained.
        learner: Where its losses come from.
        validation: Images to validate on; None except in the first process.
        description: Of the network, for checkpoints.
        optimizer, schedule: How it is trained.
        training_digest: Of the images and labels it is trained on.
    """

    network: SegmentationNetwork
    learner: Learner
    validation: Scenes | None
    description: NetworkDescription
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    training_digest: Callable[[], str]

    def get_state(self) -> dict[str, Any]:
        """Everything that decides what this process learns next; of the network, on rank 0 only."""
        state: dict[str, Any] = {
            "learner": self.learner.get_state(),
            "random": random_state(self.network.mean.device),
        }
        if rank() == 0:
            state |= {
                "network": values_of(self.network),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
        return state

    def set_state(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """Go on exactly from a state.

        Args:
            shared: What `get_state` gave on rank 0.
            own: What it gave on this rank.

        Raises:
            InputError: If it does not fit the network, the optimiser or the learner.
        """
        restore_values(self.network, shared["network"])
        try:
            self.optimizer.load_state_dict(shared["optimizer"])
        except ValueError as error:
            raise InputError(f"the training state has another optimiser: {error}") from None
        self.schedule.load_state_dict(shared["schedule"])
        self.learner.set_state(own["learner"])
        set_random_state(own["random"], self.network.mean.device)


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


def _scorer_of(config: TrainConfig) -> Scorer | str | None:
    """What scores maps in place of labels."""
    if config.ratings is None:
        return config.scorer
    feedback = Feedback.parse(config.feedback, config.group_size)
    data = config.data.open(config.split)
    return PersonScorer(
        config.ratings,
        stars=int(feedback.amount) if feedback.kind == "rating" else 5,
        class_names=data.class_names,
        palette=data.palette,
        asks=config.asks_a_person,
        should_stop=stop_asked_for,
    )


def _make_env(config: TrainConfig) -> RSSVectorEnv:
    env = gym.make_vec(
        config.data.env,
        num_envs=own_images(config.num_images) * config.group_size,
        group_size=config.group_size,
        split=config.split,
        image_size=config.image_size,
        scales=config.scales,
        metric=config.metric,
        feedback=config.feedback,
        scorer=_scorer_of(config),
        horizontal_flip=config.horizontal_flip,
        zoom=config.zoom,
        colour_jitter=config.colour_jitter,
        array="torch",
        device=config.device,
        **cast(dict[str, Any], config.data.options),
    )
    return cast(RSSVectorEnv, env.unwrapped)


def open_run(config: TrainConfig) -> Run:
    """Open the data, the environment and the network of a run, or of this process's part of it.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    config.check()
    name = config.data.dataset_name
    config.agent.check()
    device = check_device(config.device)
    env = _make_env(config)
    geometry = env.geometry
    if acts_at_one_scale(config.algo, config.agent) and len(geometry.scales) > 1:
        env.close()
        env = _make_env(dataclasses.replace(config, scales=geometry.scales[-1:]))
    val_split = config.val_split or DEFAULT_VAL_SPLIT.get(name, "val")
    if val_split is None and config.data.labels is not None:
        raise InputError(f"{name} needs --val-split, a list file of the validation images")
    validation_data = config.data.open(val_split)
    validation = None
    if rank() == 0:
        validation = load_scenes(validation_data, geometry.image_size, device)
    torch.manual_seed(config.seed)
    network = build_network(
        config.network,
        geometry.num_classes,
        geometry.image_size,
        pretrained=config.pretrained,
        device=device,
    )
    network.accelerate(config.precision, compiled=config.compile)
    description = NetworkDescription.of(
        config.network, geometry.image_size, env.class_names, env.palette
    )
    if config.start_from is not None and config.resume is None:
        start_from(network, description, Path(config.start_from))
    learner = build_learner(
        config.algo,
        network,
        env,
        lambda: load_scenes(config.data.open(config.split), geometry.image_size, device),
        agent=config.agent,
        baseline=config.baseline,
        num_images=own_images(config.num_images),
        seed=config.seed,
        augmentation=env.augmentation,
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    # Two steps more than needed: the cycle has to be longer than its two phases.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.updates + 2
    )
    if rank() > 0:  # what a network draws, such as dropout, is to differ from rank to rank
        torch.manual_seed(config.seed + rank())
    digest = env.content_digest
    return Run(network, learner, validation, description, optimizer, schedule, digest)
