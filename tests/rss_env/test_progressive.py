"""Maps drawn from coarse to fine, beside the contract that `test_checker.py` checks."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rss_env.errors import ActionError, InputError
from rss_env.progressive import ProgressiveVectorEnv
from small_environments import SMALL, actions_for, assert_same

ID, ONE_STEP = "RSS/Shapes-Progressive-v0", "RSS/Shapes-ImageReward-v0"
CELLS = (6, 24, 384)  # of the grids of SMALL


def make(environment_id: str = ID, num_envs: int = 4, **options: Any) -> Any:
    return gym.make_vec(environment_id, num_envs, **{**SMALL, "num_scenes": 12, **options})


def grids(env: Any, seed: int = 0) -> list[np.ndarray]:
    """The action of each step of an episode."""
    return [actions_for(env, seed + step) for step in range(3)]


@pytest.mark.parametrize("array", ["numpy", "torch"])
@pytest.mark.parametrize("feedback", ["exact", "rating:4", "ranking"])
def test_scores_are_those_of_one_step_one_at_a_time_and_returns_the_last(feedback, array):
    size = 2 if feedback == "ranking" else 1
    options = {"feedback": feedback, "group_size": size, "horizontal_flip": True, "array": array}
    env, one_step = make(**options), make(ONE_STEP, **options)
    images = env.reset(seed=3)[0]["image"]
    assert_same(images, one_step.reset(seed=3)[0])
    actions = grids(env)
    if array == "torch":
        actions = [torch.from_numpy(action) for action in actions]
    stack: Any = np.concatenate if array == "numpy" else torch.cat
    whole = stack([a[:, :cells] for a, cells in zip(actions, CELLS, strict=True)], 1)
    want = np.asarray(one_step.step(whole)[4]["final_info"]["scale_scores"])
    total = np.zeros(4)
    for step, action in enumerate(actions):
        _, rewards, terminated, truncated, infos = env.step(action)
        told = infos["final_info"] if step == 2 else infos
        np.testing.assert_array_equal(np.asarray(told["score"]), want[:, step])
        total += np.asarray(rewards)
        assert bool(terminated.all()) is (step == 2)
        assert not truncated.any()
    np.testing.assert_allclose(total, want[:, 2], rtol=0, atol=1e-15 if array == "numpy" else 1e-6)


def test_noisy_returns_are_the_last_scores_that_were_seen():
    env, exact = make(feedback="noisy:0.2"), make()
    for other in (env, exact):
        other.reset(seed=0)
    errors, total = [], np.zeros(4)
    for step, action in enumerate(grids(env)):
        _, rewards, *_, infos = env.step(action)
        told = infos["final_info"] if step == 2 else infos
        total += rewards
        np.testing.assert_allclose(total, told["score"], rtol=1e-6)
        *_, infos = exact.step(action)
        right = infos["final_info"] if step == 2 else infos
        errors.append(told["score"] - right["score"])
    assert len(np.unique(np.abs(errors).round(6))) == 12  # each measurement has an error of its own


def test_the_map_so_far_is_seen_on_pixels():
    env = make(autoreset_mode="Disabled")
    observations, infos = env.reset(seed=0)
    assert infos == {}
    assert (observations["map"] == 255).all()
    assert observations["map"].shape == (4, 16, 24, 1)
    geometry = env.unwrapped.geometry
    for step, action in enumerate(grids(env)):
        np.testing.assert_array_equal(observations["step"], [[step]] * 4)
        image = observations["image"]
        observations = env.step(action)[0]
        np.testing.assert_array_equal(observations["image"], image)
        part = torch.from_numpy(action[:, : CELLS[step]])
        want = geometry.upsample(part, step).numpy()
        np.testing.assert_array_equal(observations["map"][..., 0], want)
    np.testing.assert_array_equal(observations["step"], [[3]] * 4)


def test_right_labels_earn_everything():
    env = make(scales=(8, 1))
    env.reset(seed=0)
    base = env.unwrapped
    labels = base._scenes.labels_of(base._batch).flatten(1).long().numpy()
    rewards = env.step(np.zeros_like(labels))[1] + env.step(labels)[1]
    np.testing.assert_array_equal(rewards, np.ones(4))


def test_cells_beyond_the_grid_are_not_looked_at():
    env, twin = make(), make()
    for other in (env, twin):
        other.reset(seed=0)
    action = actions_for(env, 0)
    changed = action.copy()
    changed[:, CELLS[0] :] = 99
    assert_same(env.step(action)[:4], twin.step(changed)[:4])
    state = env.unwrapped.get_state()
    changed[1, CELLS[1] - 1] = 99
    changed[:, : CELLS[1] - 1] = 0
    with pytest.raises(ActionError, match=r"must hold classes 0..5, got 99 at index \(0, 23\)"):
        env.step(changed)
    with pytest.raises(ActionError, match=r"must have shape \(4, 384\), got \(4, 24\)"):
        env.step(action[:, :24])
    assert env.unwrapped.get_state() == state


def test_masks_leave_one_choice_where_nothing_counts():
    env = make(group_size=2)
    env.reset(seed=0)
    single: Any = gym.make(ID, num_scenes=12, **SMALL).unwrapped
    single.reset(seed=0)
    for cells, action in zip(CELLS, grids(env), strict=True):
        masks = env.unwrapped.action_masks()
        assert masks.shape == (4, 384 * 6)
        assert masks.dtype == np.bool_
        by_cell = masks.reshape(4, 384, 6)
        assert by_cell[:, :cells].all()
        np.testing.assert_array_equal(
            by_cell[:, cells:], np.broadcast_to(np.arange(6) == 0, (4, 384 - cells, 6))
        )
        np.testing.assert_array_equal(single.action_masks(), masks[0])
        env.step(action)
        single.step(action[0])
    assert single.action_masks().sum() == 384


def test_groups_at_different_steps_go_on_by_themselves():
    options = {"zoom": (0.8, 1.5), "feedback": "noisy:0.1", "horizontal_flip": True}
    env = make(num_envs=3, autoreset_mode="Disabled", **options)
    env.reset(seed=5)
    singles: Any = [gym.make(ID, num_scenes=12, **SMALL, **options).unwrapped for _ in range(3)]
    for i, single in enumerate(singles):
        single.reset(seed=5 + i)

    def step(seed: int) -> None:
        action = actions_for(env, seed)
        observations, rewards, terminated, _, infos = env.step(action)
        for i, single in enumerate(singles):
            observation, reward, ended, _, info = single.step(action[i])
            assert_same({key: part[i] for key, part in observations.items()}, observation)
            assert (rewards[i], terminated[i]) == (reward, ended)
            assert infos["score"][i] == info["score"]

    step(0)
    env.reset(options={"reset_mask": np.array([False, True, False])})
    singles[1].reset()
    step(1)
    env.reset(options={"reset_mask": np.array([False, False, True])})
    singles[2].reset()
    step(2)  # three different grids at once; the first episode ends


def test_hidden_scores_are_paid_at_the_end():
    seen, hidden = make(), make(show_scores=False)
    seen.reset(seed=0)
    hidden.reset(seed=0)
    total, rewards, infos = np.zeros(4), np.zeros(4), {}
    for step, action in enumerate(grids(seen)):
        total += seen.step(action)[1]
        _, rewards, _, _, infos = hidden.step(action)
        if step < 2:
            assert (rewards == 0).all()
            assert infos == {}
    np.testing.assert_allclose(rewards, total, rtol=0, atol=1e-15)
    np.testing.assert_allclose(infos["final_info"]["score"], total, rtol=1e-6)


def test_scorers_see_one_map_of_each_image_and_step():
    calls = []

    def scorer(images: Any, maps: Any) -> Any:
        calls.append(maps.shape)
        return (maps == 1).mean((2, 3))

    for show_scores, expected in ((True, 3), (False, 1)):
        calls.clear()
        env = make(scorer=scorer, show_scores=show_scores, group_size=2)
        env.reset(seed=0)
        for action in grids(env):
            env.step(action)
        assert calls == [(2, 2, 16, 24)] * expected


def test_states_hold_what_is_drawn():
    env, twin = make(group_size=2), make(group_size=2)
    env.reset(seed=0)
    env.step(actions_for(env, 0))
    state = json.loads(json.dumps(env.unwrapped.get_state()))
    twin.unwrapped.set_state(state)
    assert_same(twin.unwrapped.observe(), env.unwrapped.observe())
    assert_same(env.step(actions_for(env, 1)), twin.step(actions_for(env, 1)))
    for key, bad in (
        ("steps", [4, 0]),
        ("steps", [1]),
        ("maps", [[0] * 384] * 2),
        ("maps", [[7] * 768] * 2),
        ("maps", None),
        ("scores", [[0.5, float("nan")]] * 2),
        ("stopped", [[0, 2]] * 2),
    ):
        before = twin.unwrapped.get_state()
        with pytest.raises(InputError, match=r"state"):
            twin.unwrapped.set_state({**state, key: bad})
        assert twin.unwrapped.get_state() == before


def test_scales_need_not_divide_one_another():
    env = make(image_size=12, scales=(4, 3), autoreset_mode="Disabled")
    env.reset(seed=0)
    maps = [env.step(actions_for(env, step))[0]["map"] for step in range(2)]
    assert all(part.shape == (4, 12, 12, 1) for part in maps)


@pytest.mark.parametrize(
    "name", ["action_format", "class_scores", "class_balanced", "scale_weights", "evaluation"]
)
def test_what_is_of_one_step_is_refused(name):
    with pytest.raises(InputError, match=f"unexpected keyword argument '{name}'; "):
        make(ID, 4, **{name: True})


def test_other_bad_arguments_are_refused():
    with pytest.raises(InputError, match="show_scores must be True or False, got 1"):
        make(show_scores=1)
    with pytest.raises(InputError, match="unknown level 'PixelReward'; valid: Progressive"):
        make(level="PixelReward")
    with pytest.raises(InputError, match="unexpected keyword argument 'max_steps'"):
        make(max_steps=3)
    assert ProgressiveVectorEnv(2, dataset="Shapes", num_scenes=2).max_steps == 4
