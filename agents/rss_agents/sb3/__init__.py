"""Stable-Baselines3 on the environments: a vector environment and a policy for action maps.

    from stable_baselines3 import PPO
    from rss_agents.sb3 import MapActorCriticPolicy, make_sb3_env

    env = make_sb3_env("RSS/Shapes-ImageReward-v0", 64)
    model = PPO(MapActorCriticPolicy, env, **ppo_arguments())

Only this folder imports `stable_baselines3` (the extra `rss-env[sb3]`), and only when one of its
names is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rss_agents.extras import require

if TYPE_CHECKING:
    from rss_agents.sb3.arguments import a2c_arguments, ppo_arguments
    from rss_agents.sb3.distribution import MapCategoricalDistribution
    from rss_agents.sb3.policy import MapActorCriticPolicy
    from rss_agents.sb3.rollouts import MapRolloutBuffer
    from rss_agents.sb3.vec_env import RSSVecEnv, make_sb3_env

_HOME = {
    "MapActorCriticPolicy": "policy",
    "MapCategoricalDistribution": "distribution",
    "MapRolloutBuffer": "rollouts",
    "RSSVecEnv": "vec_env",
    "a2c_arguments": "arguments",
    "make_sb3_env": "vec_env",
    "ppo_arguments": "arguments",
}

__all__ = [
    "MapActorCriticPolicy",
    "MapCategoricalDistribution",
    "MapRolloutBuffer",
    "RSSVecEnv",
    "a2c_arguments",
    "make_sb3_env",
    "ppo_arguments",
]


def require_sb3() -> None:
    """Make sure that Stable-Baselines3 is there.

    Raises:
        InputError: If it is not; the message says how to get it.
    """
    require("stable_baselines3", "Stable-Baselines3", "sb3")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rss_agents.sb3' has no attribute {name!r}")
    require_sb3()
    return getattr(importlib.import_module(f"rss_agents.sb3.{_HOME[name]}"), name)
