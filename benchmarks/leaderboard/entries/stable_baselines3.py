"""PPO and A2C of Stable-Baselines3 as entries: with the policy for maps, and with its own."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from torch import nn

from rss_agents.networks.segmentation_network import evaluating
from rss_agents.sb3.arguments import a2c_arguments, ppo_arguments
from rss_agents.sb3.learner import CellAnswers
from rss_agents.sb3.policy import MapActorCriticPolicy
from rss_agents.sb3.vec_env import RSSVecEnv
from rss_env.action_maps import ActionMapGeometry, default_scales
from rss_env.errors import InputError


class MapPPO(nn.Module):
    """PPO with `MapActorCriticPolicy`: one reward a map, of the largest cells by default.

    Settings are arguments of `ppo_arguments`, and `num_images`, `group_size` and `scales`.
    """

    algorithm: ClassVar[type[PPO] | type[A2C]] = PPO
    policy_class: ClassVar[Any] = MapActorCriticPolicy
    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        num_classes: int,
        image_size: tuple[int, int],
        seed: int,
        num_images: int = 8,
        group_size: int = 8,
        scales: tuple[int, ...] | None = None,
        **settings: Any,
    ):
        """Build the policy."""
        super().__init__()
        self.seed, self.settings = seed, {**self.defaults, **settings}
        chosen = tuple(scales or default_scales(image_size)[:1])
        self.geometry = ActionMapGeometry(image_size, chosen, num_classes)
        self.environment = {
            "num_envs": num_images * group_size,
            "group_size": group_size,
            "scales": chosen,
            "horizontal_flip": True,
        }
        self.policy = self.policy_class(
            spaces.Box(0, 255, (3, *image_size), np.uint8),
            self.geometry.action_space("flat"),
            lambda _: 0.0,
            **self._policy_arguments,
        )

    @property
    def _policy_arguments(self) -> dict[str, Any]:
        return {"scales": self.geometry.scales} if self.policy_class is MapActorCriticPolicy else {}

    def learn(self, env: Any, budget: int) -> None:
        """See `Algorithm.learn`: as many steps as the budget allows, one a batch.

        Raises:
            InputError: If it allows none.
        """
        num_envs, group_size = self.environment["num_envs"], self.environment["group_size"]
        steps = budget // (num_envs * len(self.geometry.scales))
        if steps < 1:
            raise InputError(f"a step of {num_envs} maps asks for more than {budget} scores")
        common = {"policy_kwargs": self._policy_arguments, "seed": self.seed, "device": "cpu"}
        if self.algorithm is PPO:
            arguments = ppo_arguments(num_envs, group_size=group_size, **self.settings)
        else:
            arguments = a2c_arguments(group_size=group_size, **self.settings)
        model = self.algorithm(self.policy_class, RSSVecEnv(env.unwrapped), **arguments, **common)
        model.learn(steps * num_envs)
        self.policy.load_state_dict(model.policy.state_dict())

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """See `Algorithm.predict`."""
        with evaluating(self.policy):
            if isinstance(self.policy, MapActorCriticPolicy):
                return self.policy.network.predict(images)
            return CellAnswers(self.policy, self.geometry).predict(images)


class MapA2C(MapPPO):
    """A2C with the same policy."""

    algorithm = A2C


class CnnPPO(MapPPO):
    """PPO with SB3's `CnnPolicy`: few cells, since each has weights of its own."""

    policy_class = ActorCriticCnnPolicy
    defaults: ClassVar[dict[str, Any]] = {"entropy": 0.0, "peak": 3e-4}


class CnnA2C(CnnPPO):
    """A2C with the same policy."""

    algorithm = A2C
