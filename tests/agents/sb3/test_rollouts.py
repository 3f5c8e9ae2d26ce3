"""Rollouts of one step: advantages within groups of maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rss_agents.sb3 import MapRolloutBuffer
from rss_env.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_maps_of_an_image_are_compared_with_one_another():
    space = spaces.Box(0, 255, (3, 8, 8), np.uint8)
    actions = spaces.MultiDiscrete([4] * 5)
    buffer = MapRolloutBuffer(1, space, actions, "cpu", n_envs=4, gamma=0.0, group_size=2)
    assert buffer.actions.dtype == np.uint8
    maps = np.arange(20).reshape(4, 5) % 4
    rewards = np.array([0.1, 0.3, 0.5, 0.5], np.float32)
    buffer.add(
        np.zeros((4, 3, 8, 8), np.uint8), maps, rewards, np.ones(4), torch.ones(4), torch.zeros(4)
    )
    buffer.compute_returns_and_advantage(torch.zeros(4), np.ones(4, np.bool_))
    np.testing.assert_allclose(buffer.advantages[0], [-0.2, 0.2, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(buffer.returns[0], rewards)
    (batch,) = buffer.get()
    assert sorted(batch.actions.tolist()) == sorted(maps.astype(float).tolist())
    alone = MapRolloutBuffer(1, space, actions, "cpu", n_envs=4, gamma=0.0)
    alone.add(
        np.zeros((4, 3, 8, 8), np.uint8), maps, rewards, np.ones(4), torch.ones(4), torch.zeros(4)
    )
    alone.compute_returns_and_advantage(torch.zeros(4), np.ones(4, np.bool_))
    np.testing.assert_allclose(alone.advantages[0], rewards - 1)  # against the critic
    with pytest.raises(InputError, match="must divide the 4 sub-environments, got 3"):
        MapRolloutBuffer(1, space, actions, "cpu", n_envs=4, group_size=3)
