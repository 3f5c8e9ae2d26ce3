"""Small environments for the tests, and what they share: actions, deep comparison."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

SMALL = {"image_size": (16, 24), "scales": (8, 4, 1)}


def make(environment_id: str = "RSS/Shapes-ImageReward-v0", num_envs: int = 4, **options) -> Any:
    options = {**SMALL, "num_scenes": 12, **options}
    return gym.make_vec(environment_id, num_envs=num_envs, **options)


def actions_for(env, seed: int):
    """Random actions; the batched space cannot be sampled in torch mode."""
    shape = (env.unwrapped.num_envs, env.unwrapped.geometry.num_cells)
    return np.random.default_rng(seed).integers(0, env.unwrapped.geometry.num_classes, shape)


def assert_same(a, b, where: str = "") -> None:
    """Deep equality of observations and infos, with dense and object arrays alike."""
    if isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        a, b = np.asarray(a), np.asarray(b)
        if b.dtype == object:
            b = np.stack(list(b))
        assert a.dtype == b.dtype, where
        assert np.array_equal(a, b), where
