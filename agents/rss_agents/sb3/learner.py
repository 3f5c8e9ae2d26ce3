"""Train with Stable-Baselines3 under `rss-train`: a run that the training loop drives as any other.

SB3's own file, `sb3.zip`, does not hold the environment's state nor those of random generators: a
training state does. Nothing is read by unpickling.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rss_agents.algorithms.sb3_config import SB3_FILE
from rss_agents.distributed import world_size
from rss_agents.networks.checkpoint import NetworkDescription
from rss_agents.networks.segmentation_network import Predictor
from rss_agents.networks.trial import check_training
from rss_agents.sb3.arguments import a2c_arguments, ppo_arguments
from rss_agents.sb3.policy import MapActorCriticPolicy
from rss_agents.sb3.vec_env import RSSVecEnv, make_sb3_env
from rss_agents.training.answers import answer_scores_of
from rss_agents.training.config import TrainConfig
from rss_agents.training.objects import NO_OBJECTS, RunObjects
from rss_agents.training.optimisation import Check
from rss_agents.training.run import (
    Metrics,
    Run,
    random_state,
    restore_values,
    set_random_state,
    values_of,
)
from rss_agents.training.setup import scorer_of, start
from rss_agents.training.sources import open_validation, scored_files
from rss_env.action_maps import ActionMapGeometry
from rss_env.arguments import check_device
from rss_env.errors import InputError
from rss_env.scenes import Scenes
from rss_env.whole_files import replace_file

_LEAST_SIDE = 36  # of the images that SB3's own convolutions take


class CellAnswers(Predictor):
    """Any SB3 policy as a network: its most likely classes of the finest scale."""

    def __init__(self, policy: Any, geometry: ActionMapGeometry):
        """Bind a policy to the grids it acts on."""
        super().__init__()
        self.policy, self.geometry = policy, geometry

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Classes (B, H, W) uint8 of images (B, H, W, 3) uint8."""
        actions = self.policy._predict(images.permute(0, 3, 1, 2), deterministic=True)
        finest = len(self.geometry.scales) - 1
        cells = self.geometry.split(actions)[finest]
        return self.geometry.upsample(cells, finest).to(torch.uint8)


class SB3Run(Run):
    """A run of `PPO` or `A2C`: an update is a rollout of one step and what SB3 learns from it."""

    def __init__(
        self,
        model: OnPolicyAlgorithm,
        env: RSSVecEnv,
        validation: Scenes | None,
        description: NetworkDescription | None,
        updates: int,
    ):
        """Bind a model to its environment, and begin the first episodes.

        Args:
            model: SB3's.
            env: Its environment.
            validation: Images to validate on.
            description: Of the policy's network; None if it is not one of ours.
            updates: Of the whole training.
        """
        self._model: Any = model
        self._env = env
        policy, geometry = self._model.policy, env.env.geometry
        self.network = CellAnswers(policy, geometry) if description is None else policy.network
        self.description, self.validation = description, validation
        self.training_digest = env.env.content_digest
        self.queries_per_update = env.num_envs * len(geometry.scales)
        self.device = model.device
        model.set_logger(Logger(folder=None, output_formats=[]))
        self._steps, self._callback = model._setup_learn(updates * env.num_envs, None)

    def update(self, progress: float, check: Check | None = None) -> Metrics:
        """See `Run.update`; as `OnPolicyAlgorithm.learn` does, once."""
        model = self._model
        model.collect_rollouts(
            model.env, self._callback, model.rollout_buffer, n_rollout_steps=model.n_steps
        )
        model._update_current_progress_remaining(model.num_timesteps, self._steps)
        model.train()
        metrics: Metrics = {
            name.removeprefix("train/"): float(value)
            for name, value in model.logger.name_to_value.items()
            if name.startswith("train/")
        }
        if check is not None:
            check(metrics.get("loss", 0.0), None)  # after the step: SB3 takes it by itself
        return {"score": float(model.rollout_buffer.rewards.mean()), **metrics}

    def get_state(self) -> dict[str, Any]:
        """See `Run.get_state`."""
        model = self._model
        numpy_state: Any = np.random.get_state()  # noqa: NPY002 (SB3's)
        kind, keys, *rest = numpy_state
        return {
            "policy": values_of(model.policy),
            "optimizer": model.policy.optimizer.state_dict(),
            "counters": {"num_timesteps": model.num_timesteps, "_n_updates": model._n_updates},
            "env": self._env.env.get_state(),
            "random": random_state(model.device),
            "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
            "python": random.getstate(),
        }

    def set_state(self, shared: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        """See `Run.set_state`."""
        model = self._model
        restore_values(model.policy, own["policy"])
        model.policy.optimizer.load_state_dict(own["optimizer"])
        for name, number in own["counters"].items():
            setattr(model, name, number)
        self._env.env.set_state(own["env"])
        observed = self._env.env.observe()
        model._last_obs = model.env.transpose_observations(observed)
        model._last_episode_starts = np.ones(self._env.num_envs, np.bool_)
        set_random_state(own["random"], model.device)
        kind, keys, *rest = own["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        random.setstate(own["python"])

    def save(self, folder: Path) -> None:
        """Write SB3's own checkpoint, `sb3.zip`."""
        replace_file(folder / SB3_FILE, self._save_as)

    def _save_as(self, path: Path) -> None:
        with path.open("wb") as file:
            self._model.save(file)


def open_sb3_run(config: TrainConfig, objects: RunObjects = NO_OBJECTS) -> SB3Run:
    """Open a training of Stable-Baselines3.

    With `--sb3.policy cnn` there is no `model.safetensors`: the network is not one of ours.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
    """
    config.check()
    objects.check(config)
    if objects.data is not None or objects.network is not None:
        raise InputError(f"{config.algo} takes data and networks by name, and not as objects")
    if world_size() > 1:
        raise InputError(f"{config.algo} trains in one process, got {world_size()}")
    device = check_device(config.device)
    num_envs = config.num_images * config.group_size
    if num_envs < 2:
        raise InputError("SB3 compares maps of a batch: num_images * group_size must be over 1")
    scorer = scorer_of(config, objects)
    arguments: dict[str, Any] = config.task_arguments | scored_files(config).options
    arguments["scorer"] = scorer
    env = make_sb3_env(config.data.env, num_envs, **arguments)
    geometry = env.env.geometry
    if config.sb3.policy == "cnn" and min(geometry.image_size) < _LEAST_SIDE:
        raise InputError(
            f"SB3's CnnPolicy takes images from {_LEAST_SIDE}x{_LEAST_SIDE}, got "
            f"{geometry.image_size[0]}x{geometry.image_size[1]}"
        )
    validation = open_validation(config, geometry.image_size, device, objects)
    policy: Any = "CnnPolicy"
    policy_kwargs: dict[str, Any] = {}
    description = None
    if config.sb3.policy == "maps":
        policy = MapActorCriticPolicy
        policy_kwargs = {
            "network": config.network,
            "pretrained": config.loads_pretrained,
            "scales": geometry.scales,
        }
        description = NetworkDescription.of(
            config.network,
            geometry.image_size,
            env.env.class_names,
            env.env.palette,
            config.resize,
        )
    common = {"seed": config.seed % 2**32, "device": device, "policy_kwargs": policy_kwargs}
    learning: dict[str, Any] = {
        "group_size": config.group_size,
        "peak": config.learning_rate,
        "entropy": config.sb3.entropy,
        "warm_up": config.sb3.warm_up,
    }
    model: OnPolicyAlgorithm
    if config.algo == "sb3-ppo":
        ppo = ppo_arguments(num_envs, epochs=config.sb3.epochs, **learning)
        model = PPO(policy, env, **ppo, **common)
    else:
        model = A2C(policy, env, **a2c_arguments(**learning), **common)
    if description is not None:
        network: Any = model.policy.network
        check_training(network, config.network, config.num_images, geometry.image_size)
        start(config, network, description)
    elif config.start_from is not None:
        raise InputError("--start-from needs --sb3.policy maps: CnnPolicy has other layers")
    run = SB3Run(model, env, validation, description, config.updates)
    run.scorer, run.answer_scores = scorer, answer_scores_of(config, scorer, validation)
    return run
