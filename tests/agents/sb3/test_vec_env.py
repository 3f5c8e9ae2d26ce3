"""The environments behind Stable-Baselines3's interface: transitions, indices, refusals."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from rss_agents.sb3 import make_sb3_env
from rss_agents.sb3.vec_env import as_one
from rss_env.errors import ActionError, InputError
from sb3_singles import IMAGE, OPTIONS, PIXEL, singles
from small_environments import assert_same

pytestmark = pytest.mark.usefixtures("one_thread")


def random_actions(env: Any, seed: int) -> np.ndarray:
    shape = (env.num_envs, len(env.action_space.nvec))
    return np.random.default_rng(seed).integers(0, env.action_space.nvec[0], shape)


# --- the vector environment ---


@pytest.mark.parametrize("environment_id", [IMAGE, PIXEL])
def test_transitions_are_those_of_singles(environment_id):
    ours = make_sb3_env(environment_id, 3, **OPTIONS)
    theirs = singles(environment_id, 3, **OPTIONS)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    for seed in (7, None):  # None: the streams go on
        if seed is not None:
            assert ours.seed(seed) == theirs.seed(seed)
        before: Any = ours.reset()
        assert_same(before, theirs.reset())
        for step in range(3):
            actions = random_actions(ours, step)
            (ours_step, theirs_step) = ours.step(actions), theirs.step(actions)
            for mine, other in zip(ours_step[:3], theirs_step[:3], strict=True):
                assert_same(mine, other)
            for i, (info, other) in enumerate(zip(ours_step[3], theirs_step[3], strict=True)):
                episode, expected = info.pop("episode"), other.pop("episode")
                assert episode["r"] == pytest.approx(expected["r"], abs=1e-6)  # Monitor rounds it
                assert episode["l"] == expected["l"] == 1
                assert episode["t"] >= 0
                assert_same(info, other)
                assert_same(info["terminal_observation"], before[i])
            before = ours_step[0]


def test_results_are_not_written_again():
    env = make_sb3_env(IMAGE, 2, **OPTIONS)
    observations = env.reset()
    kept = [observations, *env.step(random_actions(env, 0))[:3]]
    copies = [part.copy() for part in kept]
    for step in range(3):
        env.step(random_actions(env, step))
    for part, copy in zip(kept, copies, strict=True):
        assert np.array_equal(part, copy)


def test_a_group_shares_images_and_seeds():
    env = make_sb3_env(IMAGE, 4, group_size=2, **OPTIONS)
    assert env.seed(5) == [5, 5, 6, 6]
    observations = env.reset()
    assert np.array_equal(observations[0], observations[1])
    assert not np.array_equal(observations[1], observations[2])
    assert_same(observations[2], make_sb3_env(IMAGE, 1, seed=6, **OPTIONS).reset()[0])


def test_sub_environments_by_index():
    env, other = make_sb3_env(IMAGE, 3, seed=1, **OPTIONS), singles(IMAGE, 3, **OPTIONS)
    other.seed(1)
    env.reset()
    other.reset()
    env.step(random_actions(env, 0))
    states = env.env_method("get_state", indices=[2, 0])
    assert [state["seeds"] for state in states] == [[3], [1]]
    env.env_method("set_state", states[0], indices=1)
    assert env.env_method("get_state")[1] == states[0]
    assert_same(env.env.observe()[1], env.env.observe()[2])
    for name in ("action_space", "observation_space", "class_names", "render_mode"):
        assert env.get_attr(name, [0, 1]) == other.get_attr(name, [0, 1]), name
    assert env.has_attr("geometry")
    assert not env.has_attr("colour")
    env.set_attr("mark", 3)
    assert env.get_attr("mark") == [3, 3, 3]
    assert env.env_is_wrapped(Monitor, [0]) == [True]
    assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * 3
    with pytest.raises(InputError, match=r"all sub-environments only, got indices \[1\]"):
        env.set_attr("mark", 3, indices=[1])
    with pytest.raises(InputError, match=r"unknown method .* 'step'; valid: render, get_state"):
        env.env_method("step")
    with pytest.raises(InputError, match="state must be of one environment"):
        env.env_method("set_state", env.env.get_state())


def test_options_are_refused_as_singles_refuse_them():
    env = make_sb3_env(IMAGE, 2, **OPTIONS)
    env.set_options({})
    env.set_options([{}, {}])
    env.set_options()
    env.reset()
    with pytest.raises(InputError, match="unknown reset option 'size'; valid: index"):
        env.set_options({"size": 3})
    with pytest.raises(InputError, match="2 entries, got 1"):
        env.set_options([{}])
    env.reset()


def test_pictures():
    env = make_sb3_env(IMAGE, 2, render_mode="rgb_array", **OPTIONS)
    observations = env.reset()
    assert_same(np.stack(env.env_method("render")), observations)
    tiled = env.render()
    assert tiled is not None
    assert tiled.shape == (32, 24, 3)
    with pytest.warns(UserWarning, match="render_mode='rgb_array'"):
        assert make_sb3_env(IMAGE, 2, **OPTIONS).get_images() == [None, None]


def test_a_pickle_goes_on_where_it_was():
    env = make_sb3_env(IMAGE, 2, seed=3, **OPTIONS)
    env.reset()
    env.step(random_actions(env, 0))
    again = pickle.loads(pickle.dumps(env))
    steps = [made.step(random_actions(env, 1)) for made in (env, again)]
    for one, other in zip(*(step[:3] for step in steps), strict=True):
        assert_same(one, other)
    env.close()
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"array": "torch"}, "needs array='numpy', got 'torch'"),
        ({"action_format": "maps"}, "needs action_format='flat', got 'maps'"),
        ({"autoreset_mode": "NextStep"}, "needs autoreset_mode='SameStep', got 'NextStep'"),
        ({"group_size": 3}, "multiple of group_size=3, got 2"),
        (
            {"environment_id": "RSS/Shape-v0"},
            "unknown environment 'RSS/Shape-v0'; valid: RSS/Shapes",
        ),
    ],
)
def test_what_sb3_cannot_take_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_sb3_env(**{"environment_id": IMAGE, "num_envs": 2, **OPTIONS, **options})


def test_a_bad_action_changes_nothing():
    env: Any = make_sb3_env(IMAGE, 2, seed=0, **OPTIONS)
    env.reset()
    state = env.env.get_state()
    with pytest.raises(ActionError):
        env.step(np.full((2, len(env.action_space.nvec)), 6))
    assert env.env.get_state() == state


def test_singles_become_one():
    options = {**OPTIONS, "metric": "dice"}
    one = as_one(DummyVecEnv([lambda: gym.make(IMAGE, **options)] * 4), group_size=2)
    assert (one.num_envs, one.env.group_size, one.env.metric) == (4, 2, "dice")
    assert one.env.geometry.scales == OPTIONS["scales"]
    few = as_one(DummyVecEnv([lambda: gym.make(IMAGE, **options)]), group_size=2)
    assert few.env.group_size == 1
