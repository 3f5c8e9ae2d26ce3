"""What a training of Stable-Baselines3 needs to go on exactly; nothing is read by unpickling.

SB3's own file, `sb3.zip`, does not hold the environment's state nor those of random generators.
"""

from __future__ import annotations

import random
from functools import cached_property
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rss_agents.sb3.vec_env import RSSVecEnv
from rss_agents.training.config import TrainConfig
from rss_agents.training.resume import identity, refuse_changes, update_to_resume
from rss_agents.training.setup import random_state, restore_values, set_random_state, values_of
from rss_agents.training.states import RunStates
from rss_env.scenes import Scenes


class SB3State:
    """Saves and restores an on-policy algorithm between two updates.

    Attributes:
        states: Where.
    """

    def __init__(
        self, config: TrainConfig, model: OnPolicyAlgorithm, env: RSSVecEnv, validation: Scenes
    ):
        """Bind a model, its environment, and the images it is validated on."""
        self._config, self._model, self._env = config, model, env
        self._validation = validation
        self.states = RunStates(config.out, config.keep_states)

    def write(self, update: int, folder: dict[str, Any]) -> None:
        """Save a state after so many updates, with that of the run's folder.

        Raises:
            OSError: If it cannot be written; the one before is kept then.
        """
        model: Any = self._model
        drawn_from: Any = np.random.get_state()  # noqa: NPY002 (SB3's)
        kind, keys, *rest = drawn_from
        state = {
            "processes": 1,
            "identity": self._identity,
            "folder": folder,
            "policy": values_of(model.policy),
            "optimizer": model.policy.optimizer.state_dict(),
            "counters": {"num_timesteps": model.num_timesteps, "_n_updates": model._n_updates},
            "env": self._env.env.get_state(),
            "random": random_state(model.device),
            "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
            "python": random.getstate(),
        }
        self.states.write(update, state)

    def read(self) -> tuple[int, dict[str, Any]]:
        """Restore the state that is asked for: its number of updates, and that of the folder.

        Raises:
            InputError: If there is none, or it does not fit.
        """
        model: Any = self._model
        update = update_to_resume(self._config)
        state, _ = self.states.read(update)
        refuse_changes(self._config, state["identity"], self._identity)
        restore_values(model.policy, state["policy"])
        model.policy.optimizer.load_state_dict(state["optimizer"])
        for name, number in state["counters"].items():
            setattr(model, name, number)
        self._env.env.set_state(state["env"])
        observed = self._env.env.observe()
        model._last_obs = model.env.transpose_observations(observed)
        model._last_episode_starts = np.ones(self._env.num_envs, np.bool_)
        set_random_state(state["random"], model.device)
        kind, keys, *rest = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        random.setstate(state["python"])
        return update, state["folder"]

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return identity(self._env.env.content_digest(), self._validation)
