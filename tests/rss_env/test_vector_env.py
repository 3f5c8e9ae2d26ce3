"""The dynamics, beside the contract that `test_checker.py` checks over all environments."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode

from rss_env import RSSVectorEnv, environment_ids
from rss_env.errors import InputError
from rss_env.registration import LEVEL_NAMES, parse_environment_id
from small_environments import SMALL, actions_for, assert_same, make

MODES = ["SameStep", "NextStep", "Disabled"]


@pytest.mark.parametrize("action_format", ["flat", "maps"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("environment_id", environment_ids(LEVEL_NAMES))
def test_native_equals_sync_vector_env(environment_id, mode, action_format, data_options):
    options = {
        **SMALL,
        **data_options[parse_environment_id(environment_id)[0]],
        "action_format": action_format,
        "horizontal_flip": True,
        "feedback": "noisy:0.1",
    }
    native: Any = gym.make_vec(environment_id, num_envs=3, autoreset_mode=mode, **options)
    sync: Any = gym.make_vec(
        environment_id,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)},
        **options,
    )
    assert native.single_action_space == sync.single_action_space
    assert native.action_space == sync.action_space
    assert native.observation_space == sync.observation_space
    observations, infos = native.reset(seed=7)
    expected, expected_infos = sync.reset(seed=7)
    assert_same(observations, expected)
    assert_same(infos, expected_infos)
    sync.action_space.seed(0)
    for step in range(6):
        actions = sync.action_space.sample()
        results, expected_results = native.step(actions), sync.step(actions)
        for got, want in zip(results, expected_results, strict=True):
            assert_same(got, want, f"step {step}")
        if mode == "Disabled":
            for mask in ([True, False, True], [False, True, False]):
                seed = [5, None, 11] if step == 2 else None
                got = native.reset(seed=seed, options={"reset_mask": np.array(mask)})
                want = sync.reset(seed=seed, options={"reset_mask": np.array(mask)})
                assert_same(got[0], want[0], f"reset after step {step}")
                assert_same(got[1], want[1])
    native.close()
    sync.close()


@pytest.mark.parametrize("mode", MODES)
def test_declares_its_autoreset_mode(mode):
    for spelling in (mode, mode.lower(), AutoresetMode(mode)):
        env = make(autoreset_mode=spelling)
        assert env.metadata["autoreset_mode"] is AutoresetMode(mode)
        assert env.autoreset_mode is AutoresetMode(mode)
    assert RSSVectorEnv.metadata.get("autoreset_mode") is None  # not shared between instances


def test_vector_environments_of_singles_do_not_change_the_class():
    single = gym.make("RSS/Shapes-ImageReward-v0", num_scenes=2).unwrapped
    single.metadata["autoreset_mode"] = AutoresetMode.DISABLED  # as SyncVectorEnv does
    assert "autoreset_mode" not in type(single).metadata
    assert "autoreset_mode" not in RSSVectorEnv.metadata


def test_episodes_terminate_after_one_step():
    env = make()
    env.reset(seed=0)
    for step in range(3):
        _, rewards, terminated, truncated, infos = env.step(actions_for(env, step))
        assert rewards.dtype == np.float64
        assert terminated.all()
        assert not truncated.any()
        assert infos["_final_obs"].all()
        assert infos["final_obs"].shape == (4, 16, 24, 3)
        scores = infos["final_info"]["scale_scores"]
        assert scores.shape == (4, 3)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(rewards, scores.mean(1), rtol=1e-6)


def test_next_step_mode_has_a_dead_step():
    env = make(autoreset_mode="NextStep")
    first, _ = env.reset(seed=0)
    observations, rewards, terminated, _, infos = env.step(actions_for(env, 0))
    assert terminated.all()
    assert (rewards > 0).any()
    assert infos["_scale_scores"].all()
    np.testing.assert_array_equal(observations, first)
    observations, rewards, terminated, _, infos = env.step(actions_for(env, 1))
    assert not terminated.any()
    assert (rewards == 0).all()
    assert infos == {}
    assert (observations != first).any()


def test_disabled_mode_insists_on_a_reset():
    env = make(autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded, match="call reset before step"):
        env.step(actions_for(env, 0))
    env.reset(seed=0)
    env.step(actions_for(env, 0))
    with pytest.raises(ResetNeeded, match=r"sub-environments \[0, 1, 2, 3\] are over"):
        env.step(actions_for(env, 0))
    env.reset(options={"reset_mask": np.array([True, True, False, True])})
    with pytest.raises(ResetNeeded, match=r"\[2\] are over"):
        env.step(actions_for(env, 0))
    env.reset(options={"reset_mask": np.array([False, False, True, False])})
    env.step(actions_for(env, 0))


def test_results_do_not_share_memory():
    env = make(array="torch")
    observations, _ = env.reset(seed=0)
    results = env.step(actions_for(env, 0))
    infos = results[4]
    tensors = [
        observations, *results[:4], infos["final_obs"], infos["_final_obs"], infos["_final_info"],
        *infos["final_info"].values(), env.reset()[0],
    ]  # fmt: skip
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == len(tensors)


def test_torch_mode_equals_numpy_mode():
    numpy_env, torch_env = make(), make(array="torch")
    np.testing.assert_array_equal(numpy_env.reset(seed=3)[0], torch_env.reset(seed=3)[0].numpy())
    actions = actions_for(numpy_env, 0)
    want, got = numpy_env.step(actions), torch_env.step(torch.from_numpy(actions))
    assert got[1].dtype == torch.float32
    for a, b in zip(got[:4], want[:4], strict=True):
        assert isinstance(a, torch.Tensor)
        np.testing.assert_array_equal(a.numpy(), b)
    np.testing.assert_array_equal(
        got[4]["final_info"]["scale_scores"].numpy(), want[4]["final_info"]["scale_scores"]
    )


def test_reset_continues_the_stream():
    env = make(num_envs=1)
    images = [env.reset(seed=0)[0]] + [env.reset()[0] for _ in range(8)]
    assert len({i.tobytes() for i in images}) > 2
    stepped = make(num_envs=1)
    stepped.reset(seed=0)
    for image in images[1:]:
        np.testing.assert_array_equal(stepped.step(actions_for(stepped, 0))[0], image)


def test_seed_list_equals_its_range():
    listed, ranged = make(), make()
    np.testing.assert_array_equal(listed.reset(seed=[5, 6, 7, 8])[0], ranged.reset(seed=5)[0])
    kept = listed.unwrapped.get_state()
    listed.reset(seed=[None, 9, None, None])
    state = listed.unwrapped.get_state()
    assert state["seeds"] == [5, 9, 7, 8]
    assert state["episodes"] == [1, 0, 1, 1]
    assert kept["episodes"] == [0, 0, 0, 0]


def test_groups_share_an_image_and_are_scored_alike():
    grouped = make(num_envs=6, group_size=3)
    observations, _ = grouped.reset(seed=4)
    for group in (observations[:3], observations[3:]):
        assert (group == group[:1]).all()
    assert (observations[0] != observations[3]).any()
    single = make(num_envs=2)
    np.testing.assert_array_equal(single.reset(seed=4)[0], observations[::3])
    actions = actions_for(single, 0)
    want = single.step(actions)[1]
    got = grouped.step(actions.repeat(3, 0))[1]
    np.testing.assert_array_equal(got, want.repeat(3))


def test_state_continues_exactly():
    env = make(horizontal_flip=True, autoreset_mode="NextStep")
    env.reset(seed=0)
    env.step(actions_for(env, 0))
    state = json.loads(json.dumps(env.unwrapped.get_state()))
    expected = [env.step(actions_for(env, s)) for s in range(1, 5)]
    fresh = make(horizontal_flip=True, autoreset_mode="NextStep")
    fresh.unwrapped.set_state(state)
    for step, want in enumerate(expected, start=1):
        for a, b in zip(fresh.step(actions_for(env, step)), want, strict=True):
            assert_same(a, b)
    with pytest.raises(InputError, match="state is for 4 groups, this has 2"):
        make(num_envs=2).unwrapped.set_state(state)


def test_pickling_keeps_state_and_arguments():
    env = make(group_size=2, feedback="rating")
    env.reset(seed=0)
    env.step(actions_for(env, 0))
    twin = pickle.loads(pickle.dumps(env))
    assert twin.spec == env.spec
    np.testing.assert_array_equal(twin.unwrapped.observe(), env.unwrapped.observe())
    for got, want in zip(
        twin.step(actions_for(env, 1)), env.step(actions_for(env, 1)), strict=True
    ):
        assert_same(got, want)


def test_closing_twice_and_using_a_closed_environment():
    env = make()
    env.reset(seed=0)
    env.close()
    env.close()
    for use in (lambda: env.step(actions_for(env, 0)), env.reset, env.render):
        with pytest.raises(ClosedEnvironmentError):
            use()


def test_rendering_shows_the_last_map():
    env = make(render_mode="rgb_array")
    observations, _ = env.reset(seed=0)
    frames = env.render()
    assert len(frames) == 4
    np.testing.assert_array_equal(np.stack(frames), observations)
    _, _, _, _, infos = env.step(np.zeros_like(actions_for(env, 0)))
    for frame, image in zip(env.render(), infos["final_obs"], strict=True):
        np.testing.assert_array_equal(frame, (0.4 * image).astype(np.uint8))  # class 0 is black
    assert make().render() is None


def test_importing_the_package_is_light_and_needs_no_sb3():
    code = (
        "import sys; sys.modules['stable_baselines3'] = None; import gymnasium, rss_env; "
        "assert 'torch' not in sys.modules; assert 'numba' not in sys.modules; "
        "gymnasium.make('RSS/Shapes-ImageReward-v0', num_scenes=2).reset(seed=0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_seed_of_a_reset_is_known_and_survives_pickling():
    env = make(num_envs=2)
    env.reset(seed=5)
    assert env.np_random_seed == env.unwrapped.np_random_seed == 5
    copy = pickle.loads(pickle.dumps(env.unwrapped))
    assert copy.np_random_seed == 5
    assert copy.np_random.random() == env.unwrapped.np_random.random()
    env.reset()
    assert env.np_random_seed == 5


def test_the_numbers_of_images_cannot_be_changed_from_outside():
    env, twin = (make(num_envs=4, num_scenes=9).unwrapped for _ in range(2))
    for environment in (env, twin):
        environment.reset(seed=0)
    env.image_index.fill_(8)
    assert torch.equal(env.image_index, twin.image_index)
    for got, want in zip(*(e.step(actions_for(e, 0)) for e in (env, twin)), strict=True):
        assert_same(got, want)
