"""Small environments for the tests, and what they share: actions, deep comparison."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rss_env.registration import parse_environment_id
from rss_env.sequential_task import SequentialTask

SMALL = {"image_size": (16, 24), "scales": (8, 4, 1)}


def make(environment_id: str = "RSS/Shapes-ImageReward-v0", num_envs: int = 4, **options) -> Any:
    options = {**SMALL, "num_scenes": 12, **options}
    return gym.make_vec(environment_id, num_envs=num_envs, **options)


def small_options(environment_id: str, data_options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an id: small images, its data, and short episodes."""
    dataset, level = parse_environment_id(environment_id)
    short = {"max_steps": 3} if level == "Refine" else {}
    return {**SMALL, **data_options[dataset], **short}


def actions_for(env, seed: int):
    """Random actions; the batched space cannot be sampled in torch mode."""
    base: Any = env.unwrapped
    if isinstance(base, SequentialTask):
        high: Any = base._spaces[1]
        return np.random.default_rng(seed).integers(0, high.nvec, (base._num_envs, len(high.nvec)))
    shape = (base.num_envs, base.geometry.num_cells)
    return np.random.default_rng(seed).integers(0, base.geometry.num_classes, shape)


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
