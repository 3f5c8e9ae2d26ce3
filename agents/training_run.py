"""What a training run needs: data, environment, network and learner, opened and checked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import gymnasium as gym
import torch

from agents.algorithms import acts_at_one_scale, build_learner
from agents.checkpoint import NetworkDescription
from agents.distributed import rank
from agents.learner import Learner
from agents.policies import SegmentationNetwork, build_network
from agents.processes import own_images
from agents.train_config import TrainConfig
from rss_env.arguments import check_device
from rss_env.errors import InputError
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
    """

    network: SegmentationNetwork
    learner: Learner
    validation: Scenes | None
    description: NetworkDescription


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
        scorer=config.scorer,
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
    description = NetworkDescription.of(
        config.network, geometry.image_size, env.class_names, env.palette
    )
    if rank() > 0:  # what a network draws, such as dropout, is to differ from rank to rank
        torch.manual_seed(config.seed + rank())
    return Run(network, learner, validation, description)
