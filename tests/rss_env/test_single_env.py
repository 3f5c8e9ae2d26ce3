from __future__ import annotations

import json
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from rss_env import RSSEnv, environment_ids
from rss_env.errors import ActionError, InputError
from rss_env.registration import LEVEL_NAMES, SEQUENCE_NAMES, parse_environment_id
from small_environments import assert_same


def options_for(environment_id: str, data_options: dict) -> dict:
    return data_options[parse_environment_id(environment_id)[0]]


@pytest.mark.parametrize(
    ("environment_id", "formats"),
    [
        *(
            (i, {"action_format": f})
            for i in environment_ids(LEVEL_NAMES)
            for f in ("flat", "maps")
        ),
        *((environment_id, {}) for environment_id in environment_ids(SEQUENCE_NAMES)),
    ],
)
def test_gymnasium_checker_finds_nothing(environment_id, formats, data_options):
    options = options_for(environment_id, data_options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(environment_id, **formats, **options).unwrapped)


@pytest.mark.parametrize("environment_id", environment_ids())
def test_sb3_checker_finds_nothing(environment_id, data_options):
    options = options_for(environment_id, data_options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env_for_sb3(gym.make(environment_id, **options).unwrapped)


@pytest.mark.parametrize("environment_id", environment_ids())
def test_specs_survive_json(environment_id, data_options):
    options = options_for(environment_id, data_options)
    spec = gym.make(environment_id, **options).spec
    assert spec is not None
    rebuilt = gym.make(EnvSpec.from_json(spec.to_json()))
    first, _ = gym.make(environment_id, **options).reset(seed=1)
    assert_same(rebuilt.reset(seed=1)[0], first)


def test_module_prefix_and_every_vectorisation_mode():
    gym.make("rss_env:RSS/Shapes-ImageReward-v0", num_scenes=2).close()
    for mode in ("vector_entry_point", "sync", "async"):
        env = gym.make_vec(
            "RSS/Shapes-ImageReward-v0", num_envs=2, vectorization_mode=mode, num_scenes=3
        )
        first, _ = env.reset(seed=0)
        results = env.step(env.action_space.sample())
        assert first.shape == results[0].shape == (2, 64, 64, 3)
        env.close()


def test_async_workers_survive_threads_in_the_parent():
    """The parent has run parallel kernels before it forks; the workers must not hang or die."""
    busy = gym.make_vec("RSS/Shapes-ImageReward-v0", num_envs=16, num_scenes=8)
    busy.reset(seed=0)
    busy.step(np.zeros((16, 5440), np.int64))
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=2, vectorization_mode="async", num_scenes=8
    )
    observations, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observations, busy.reset(seed=0)[0][:2])
    env.step(np.zeros((2, 5440), np.int64))
    env.close()


def test_one_episode():
    env = gym.make("RSS/Shapes-ImageReward-v0", num_scenes=4)
    first, info = env.reset(seed=0)
    assert info == {}
    observation, reward, terminated, truncated, info = env.step(np.zeros(5440, np.int64))
    np.testing.assert_array_equal(observation, first)
    assert observation is not first
    assert isinstance(reward, float)
    assert terminated is True
    assert truncated is False
    assert set(info) == {"scale_scores"}
    assert info["scale_scores"].shape == (4,)
    with pytest.raises(ResetNeeded):
        env.unwrapped.step(np.zeros(5440, np.int64))


def test_bad_actions_are_refused():
    env = gym.make("RSS/Shapes-ImageReward-v0", num_scenes=4).unwrapped
    env.reset(seed=0)
    for bad in (np.zeros(5439, np.int64), np.zeros(5440), np.full(5440, 6), [[1], [1, 2]], None):
        with pytest.raises(ActionError):
            env.step(bad)
    env.step(np.zeros(5440, np.int64))


def test_groups_need_a_vector_environment():
    with pytest.raises(InputError, match="use gym.make_vec"):
        gym.make("RSS/Shapes-ImageReward-v0", group_size=2)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", AutoresetMode.DISABLED, "sometimes"])
def test_autoreset_modes_are_refused_where_they_would_be_ignored(mode):
    message = "takes no autoreset_mode; for vectorization_mode='sync' or 'async' give vector_kwargs"
    with pytest.raises(InputError, match=message):
        gym.make("RSS/Shapes-ImageReward-v0", autoreset_mode=mode)
    with pytest.raises(InputError, match=message):
        gym.make_vec("RSS/Shapes-ImageReward-v0", 2, vectorization_mode="sync", autoreset_mode=mode)


def test_no_step_is_dead_where_the_message_is_followed():
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0",
        2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        num_scenes=2,
    )
    env.reset(seed=0)
    for _ in range(3):
        _, rewards, terminated, _, _ = env.step(np.zeros((2, 5440), np.int64))
        assert terminated.all()
        assert (rewards > 0).all()


def test_state_pickle_close():
    env = gym.make("RSS/Shapes-ImageReward-v0", num_scenes=9).unwrapped
    assert isinstance(env, RSSEnv)
    first, _ = env.reset(seed=3)
    state = json.loads(json.dumps(env.get_state()))
    twin = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(twin.observe(), first)
    expected = env.reset()[0]
    np.testing.assert_array_equal(twin.reset()[0], expected)
    twin.set_state(state)
    np.testing.assert_array_equal(twin.reset()[0], expected)
    env.close()
    env.close()
    with pytest.raises(ClosedEnvironmentError):
        env.reset()


def test_a_pickled_environment_draws_the_same_at_random():
    env = gym.make("RSS/Shapes-ImageReward-v0", num_scenes=9).unwrapped
    env.action_space.seed(3)
    env.reset(seed=9)
    twin = pickle.loads(pickle.dumps(env))
    assert twin.np_random_seed == 9
    assert twin.np_random.random() == env.np_random.random()
    np.testing.assert_array_equal(twin.action_space.sample(), env.action_space.sample())


def test_rendering():
    env = gym.make("RSS/Shapes-ImageReward-v0", num_scenes=4, render_mode="rgb_array")
    first, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), first)
    env.step(np.full(5440, 1))
    frame: Any = env.render()
    assert frame.shape == (64, 64, 3)
    assert (frame != first).any()


def test_unknown_ids_are_gymnasiums_to_refuse():
    with pytest.raises(gym.error.NameNotFound):
        gym.make("RSS/Shape-ImageReward-v0")
    with pytest.raises(InputError, match="valid: RSS/Shapes-PixelReward-v0"):
        parse_environment_id("RSS/Shape-ImageReward-v0")
