"""Plain policy gradients: advantages by hand, clipping, and steps."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

from rss_agents.algorithms.policy_gradients import METHODS, BaselineLearner, clipped_objective
from rss_agents.algorithms.reference_config import BaselineConfig
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv
from tiny_networks import SIZE, tiny_network


def baseline(method, **config):
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0",
        num_envs=16,
        group_size=4,
        array="torch",
        image_size=SIZE,
        scales=(1,),
    ).unwrapped
    assert isinstance(env, RSSVectorEnv)
    return BaselineLearner(method, tiny_network(), env, BaselineConfig(**config), seed=0)


def test_a_map_s_reward_is_the_return_of_cells_of_all_scales():
    """Of one scale it is the score, bit for bit; queries are counted as the environment does."""
    common = {"num_envs": 16, "group_size": 4, "array": "torch", "image_size": SIZE}
    for scales in ((1,), (4, 1)):
        env = gym.make_vec("RSS/Shapes-ImageReward-v0", scales=scales, **common).unwrapped
        assert isinstance(env, RSSVectorEnv)
        learner = BaselineLearner("ppo", tiny_network(), env, BaselineConfig(), seed=0)
        twin = gym.make_vec("RSS/Shapes-ImageReward-v0", scales=scales, **common)
        twin.reset(seed=0)
        learner.loss()
        maps, scores = learner.last_batch()["maps"], learner.last_batch()["scores"]
        assert maps.shape == (4, 4, env.geometry.num_cells)
        _, _, _, _, infos = twin.step(maps.flatten(0, 1))
        told = infos["final_info"]["scale_scores"].mean(1).view(4, 4)
        if len(scales) == 1:
            assert torch.equal(scores, told)
        torch.testing.assert_close(scores, told)
        assert env.score_queries == learner.queries_per_update == 16 * len(scales)


def test_advantages_by_hand():
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.6], [0.5, 0.5, 0.5, 0.5]])
    rloo = baseline("rloo").advantages(scores, 10)
    torch.testing.assert_close(
        rloo[0], 10 * torch.tensor([0.1 - 1.1 / 3, 0.2 - 1 / 3, 0.3 - 0.3, 0.6 - 0.2])
    )
    assert (rloo[1] == 0).all()
    grpo = baseline("grpo").advantages(scores, 10)
    torch.testing.assert_close(grpo[0], (scores[0] - 0.3) / scores[0].std(), rtol=1e-4, atol=1e-5)
    assert (grpo[1] == 0).all()
    ppo = baseline("ppo").advantages(scores, 10)
    torch.testing.assert_close(ppo.square().mean(), torch.tensor(1.0))
    torch.testing.assert_close(ppo[0] / ppo[0, 3], (scores[0] - 0.3) / 0.3)
    reinforce = baseline("reinforce")
    mean = scores.mean()
    torch.testing.assert_close(reinforce.advantages(scores, 10), (scores - mean) * 10)
    torch.testing.assert_close(reinforce.advantages(scores + 0.1, 10), (scores + 0.1 - mean) * 10)
    later = mean + 0.1 * 0.1
    torch.testing.assert_close(reinforce.advantages(scores, 10), (scores - later) * 10)


def test_clipping_takes_the_gain_from_ratios_that_went_far():
    ratio = torch.tensor([[[0.5, 1.0, 1.5]], [[0.5, 1.0, 1.5]]], requires_grad=True)
    advantages = torch.tensor([[2.0], [-2.0]])
    found = clipped_objective(ratio, advantages, 0.2)
    expected = (2 * (0.5 + 1.0 + 1.2) - 2 * (0.8 + 1.0 + 1.5)) / 6
    assert found.item() == pytest.approx(expected)
    found.backward()
    assert ratio.grad is not None
    assert (ratio.grad != 0).flatten().tolist() == [True, True, False, False, True, True]
    torch.testing.assert_close(
        clipped_objective(ratio, advantages, None), (ratio * advantages[..., None]).mean()
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_baseline_takes_its_steps(method):
    agent = baseline(method, epochs=3)
    optimizer = torch.optim.SGD(agent.network.parameters(), 0.1)
    steps = 0
    for loss, metrics in agent.losses():
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
        assert metrics["score"] >= 0
        steps += 1
    assert steps == (3 if method in ("grpo", "ppo") else 1)
    assert agent.queries_per_update == 16


def test_the_first_gradient_of_ppo_is_the_policy_gradient():
    """Before a step every ratio is one: nothing is clipped, and ppo is rloo in other units."""
    gradients = []
    for method in ("rloo", "ppo"):
        agent = baseline(method, entropy=0.0)
        loss, _ = agent.loss()
        loss.backward()
        weights = agent.network.get_parameter("body.head.weight")
        assert weights.grad is not None
        gradients.append(weights.grad.flatten())
    alike = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert float(alike) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"entropy": -1.0}, "entropy must be at least 0, got -1"),
        ({"exploration": 1.0}, "exploration must be in 0..1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"clip": 1.5}, "clip must be between 0 and 1"),
    ],
)
def test_a_bad_configuration_is_named(arguments, named):
    with pytest.raises(InputError, match=named):
        BaselineConfig(**arguments).check()
