"""Objectives: which score model suits the feedback, and what is remembered of it."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import pytest
import torch

from rss_agents.algorithms.objectives import CellCrossEntropy, LinearRegression
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.networks.build import build_network
from rss_agents.replay.share_memory import ShareMemory
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv


def learner(score_model: Literal["auto", "metric"] = "auto", **arguments: Any):
    env = gym.make_vec(
        "RSS/Shapes-PixelReward-v0", num_envs=8, group_size=4, array="torch", **arguments
    ).unwrapped
    assert isinstance(env, RSSVectorEnv)
    torch.manual_seed(0)
    network = build_network("tiny-unet", env.geometry.num_classes, (64, 64))
    return RSSLearner(network, env, RSSConfig(score_model=score_model), seed=0)


@pytest.mark.parametrize("feedback", ["noisy:0.1", "ranking"])
def test_feedback_that_is_no_share_takes_the_linear_model(feedback):
    assert isinstance(learner(feedback=feedback).objective, LinearRegression)
    with pytest.raises(InputError, match="score_model 'metric'"):
        learner("metric", feedback=feedback)


def test_class_balanced_rewards_take_the_linear_model():
    assert isinstance(learner(class_balanced=True).objective, LinearRegression)
    assert isinstance(learner().objective, CellCrossEntropy)


def test_what_is_known_is_the_label():
    """Told of every class, the memory holds the label itself, as shares of cells."""
    agent = learner(score_model="metric")
    memory = agent.objective.memory
    assert isinstance(memory, ShareMemory)
    images = agent.env.observe()[::4]
    classes = agent.env.geometry.num_classes
    cells = agent.env.geometry.num_cells
    known = torch.empty(0)
    for first in range(0, classes, 4):
        maps = (torch.arange(first, first + 4) % classes).to(torch.uint8).repeat(2)
        actions = maps[:, None].expand(8, cells).contiguous()
        # The same episode again: every step is a new one, so go back for the next classes.
        state = agent.env.get_state()
        _, _, _, _, infos = agent.env.step(actions)
        rewards = infos["final_info"]["pixel_rewards"].unflatten(0, (2, 4))
        keys = memory.recognise(images)
        maps, rewards = (
            agent.env.geometry.mirror(part, keys.mirrored)
            for part in (actions.unflatten(0, (2, 4)), rewards)
        )
        known = memory.add(keys.keys, maps, rewards)
        agent.env.set_state(state)
    assert (known >= 0).all()
    torch.testing.assert_close(known.sum(1), torch.ones(2, cells))
