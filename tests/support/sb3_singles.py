"""Small environments for the tests of Stable-Baselines3, and its own way to hold them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from small_environments import SMALL

IMAGE, PIXEL = "RSS/Shapes-ImageReward-v0", "RSS/Shapes-PixelReward-v0"
OPTIONS = {**SMALL, "num_scenes": 12}
TINY = {"image_size": 16, "scales": (8, 4), "num_scenes": 12}


def singles(environment_id: str, num_envs: int, **options: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(gym.make(environment_id, **options))] * num_envs)
