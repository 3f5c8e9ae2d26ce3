"""Learning from rewards of cells: the likelihood of labels of which some shares are known."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium as gym
import pytest
import torch
import torch.nn.functional as F

from rss_agents.algorithms.objectives import CellCrossEntropy, LinearRegression
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.losses.cross_entropy import coarsened_cross_entropy
from rss_agents.networks.build import build_network
from rss_agents.replay.share_memory import ShareMemory
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv


def test_it_is_cross_entropy_where_all_is_known():
    logits = torch.randn(2, 5, 30)
    labels = torch.randint(0, 5, (2, 30))
    shares = F.one_hot(labels, 5).transpose(1, 2).float()
    found = coarsened_cross_entropy(logits.softmax(1), shares)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels))
    shares[:, 3] = -1.0  # one class may be missing: what the others leave is its share
    torch.testing.assert_close(coarsened_cross_entropy(logits.softmax(1), shares), found)


def test_what_is_left_belongs_to_the_other_classes_together():
    """By hand: half of the cell is class 0, none is class 1; 2 and 3 share the other half."""
    probabilities = torch.tensor([[[0.4], [0.3], [0.2], [0.1]]])
    shares = torch.tensor([[[0.5], [0.0], [-1.0], [-1.0]]])
    expected = -(0.5 * torch.tensor(0.4).log() + 0.5 * torch.tensor(0.3).log())
    torch.testing.assert_close(coarsened_cross_entropy(probabilities, shares), expected)


def test_a_void_cell_counts_nothing():
    logits = torch.randn(1, 3, 2, requires_grad=True)
    shares = torch.tensor([[[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]])
    coarsened_cross_entropy(logits.softmax(1), shares).backward()
    assert logits.grad is not None
    assert (logits.grad[..., 0] == 0).all()
    assert (logits.grad[..., 1] != 0).any()


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
    images = agent.observations[::4]
    classes = agent.env.geometry.num_classes
    cells = agent.env.geometry.num_cells
    known = torch.empty(0)
    for first in range(0, classes, 4):
        maps = (torch.arange(first, first + 4) % classes).to(torch.uint8).repeat(2)
        actions = maps[:, None].expand(8, cells).contiguous()
        # The same episode again: every step is a new one, so go back for the next classes.
        state = agent.env.get_state()
        _, _, _, _, infos = agent.env.step(actions)
        told = infos["final_info"]["pixel_rewards"].unflatten(0, (2, 4))
        keys = memory.recognise(images)
        maps, told = (
            agent.env.geometry.mirror(part, keys.mirrored)
            for part in (actions.unflatten(0, (2, 4)), told)
        )
        known = memory.add(keys.keys, maps, told)
        agent.env.set_state(state)
    assert (known >= 0).all()
    torch.testing.assert_close(known.sum(1), torch.ones(2, cells))
