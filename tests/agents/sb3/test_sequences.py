"""Episodes of several steps behind Stable-Baselines3's interface."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from rss_agents.sb3 import MapActorCriticPolicy, make_sb3_env
from rss_env.errors import InputError
from small_environments import assert_same

pytestmark = pytest.mark.usefixtures("one_thread")

PROGRESSIVE, REFINE = "RSS/Shapes-Progressive-v0", "RSS/Shapes-Refine-v0"
OPTIONS: dict[str, dict[str, Any]] = {
    PROGRESSIVE: {"image_size": 40, "scales": (20, 8), "num_scenes": 4},
    REFINE: {"image_size": 40, "scales": (8,), "num_scenes": 4, "max_steps": 3},
}
EACH = pytest.mark.parametrize("environment_id", [PROGRESSIVE, REFINE])


@EACH
def test_transitions_are_those_of_singles(environment_id):
    ours = make_sb3_env(environment_id, 3, **OPTIONS[environment_id])
    theirs: Any = make_vec_env(environment_id, 3, env_kwargs=OPTIONS[environment_id])
    assert ours.seed(7) == theirs.seed(7)
    assert_same(ours.reset(), theirs.reset())
    ours.action_space.seed(0)
    ends = 0
    for _ in range(7):
        actions = np.stack([ours.action_space.sample() for _ in range(3)])
        *mine, infos = ours.step(actions)
        *others, expected = theirs.step(actions)
        assert_same(mine, others)
        for info, other in zip(infos, expected, strict=True):
            assert info.keys() == other.keys()
            assert info["score"] == other["score"]
            assert info["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            if "episode" in info:
                ends += 1
                assert info["episode"]["r"] == pytest.approx(other["episode"]["r"], abs=1e-6)
                assert info["episode"]["l"] == other["episode"]["l"]
                assert_same(info["terminal_observation"], other["terminal_observation"])
    assert ends > 3


@EACH
def test_ppo_learns_from_dicts(environment_id):
    env = make_sb3_env(environment_id, 2, seed=0, **OPTIONS[environment_id])
    model = PPO("MultiInputPolicy", env, n_steps=4, batch_size=8, n_epochs=1, seed=0)
    before = [part.detach().clone() for part in model.policy.parameters()]
    model.learn(8)
    after = list(model.policy.parameters())
    assert any((a != b).any() for a, b in zip(after, before, strict=True))
    assert all(part.isfinite().all() for part in after)


def test_maskable_ppo_takes_the_masks_of_unused_cells():
    sb3_contrib = pytest.importorskip("sb3_contrib")
    env = make_sb3_env(PROGRESSIVE, 2, seed=0, **OPTIONS[PROGRESSIVE])
    model = sb3_contrib.MaskablePPO(
        "MultiInputPolicy", env, n_steps=4, batch_size=8, n_epochs=1, seed=0
    )
    model.learn(8)
    actions = model.rollout_buffer.actions.reshape(2, 4, 25)  # steps of the grids of 4, 25, ...
    assert (actions[:, ::2, 4:] == 0).all()
    assert (actions[:, 1::2, 4:] != 0).any()
    single = gym.make(PROGRESSIVE, **OPTIONS[PROGRESSIVE])
    sb3_contrib.MaskablePPO("MultiInputPolicy", single, n_steps=4, batch_size=4, n_epochs=1).learn(
        4
    )


def test_the_policy_of_maps_says_what_to_take():
    env = make_sb3_env(PROGRESSIVE, 2, **OPTIONS[PROGRESSIVE])
    with pytest.raises(InputError, match="take SB3's MultiInputPolicy"):
        PPO(MapActorCriticPolicy, env)
