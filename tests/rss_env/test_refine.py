"""Maps edited window by window, beside the contract that `test_checker.py` checks."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rss_env.errors import ActionError, InputError
from small_environments import assert_same

ID = "RSS/Shapes-Refine-v0"
OPTIONS = {"image_size": (16, 24), "scales": (8, 2), "num_scenes": 12}  # a grid of 8 x 12 cells
KEEP, STOP = 6, 6  # six classes, and six windows of 4 x 4 cells


def make(num_envs: int = 2, **options: Any) -> Any:
    return gym.make_vec(ID, num_envs, **{**OPTIONS, "autoreset_mode": "Disabled", **options})


def edit(num_envs: int, place: int, classes: Any = KEEP) -> np.ndarray:
    actions = np.full((num_envs, 17), classes)
    actions[:, 0] = place
    return actions


def best_cells(env: Any) -> np.ndarray:
    """The most frequent class of each cell of the finest grid, (N, 8, 12)."""
    base = env.unwrapped
    labels = base._scenes.labels_of(base._batch).numpy().reshape(-1, 8, 2, 12, 2)
    counts = np.stack([(labels == c).sum((2, 4)) for c in range(6)], -1)
    return counts.argmax(-1)


def test_windows_are_edited_and_gains_are_paid():
    env = make()
    observations, _ = env.reset(seed=0)
    base = env.unwrapped
    assert (base.window, base.num_windows, base.max_steps) == (4, 6, 6)
    majority = int(base._scenes.class_frequencies().argmax())
    assert (observations["map"] == majority).all()
    best = best_cells(env)
    judge: Any = gym.make_vec("RSS/Shapes-ImageReward-v0", 2, **{**OPTIONS, "scales": (2,)})
    judge.reset(seed=0)
    start = judge.step(np.full((2, 96), majority))[1]
    judge.reset(seed=0)
    final = judge.step(best.reshape(2, 96))[1]
    total, cells, infos = np.zeros(2), np.full((2, 8, 12), majority), {}
    for place in range(6):
        y, x = 4 * (place // 3), 4 * (place % 3)
        window = best[:, y : y + 4, x : x + 4]
        action = np.concatenate([np.full((2, 1), place), window.reshape(2, 16)], 1)
        observations, rewards, terminated, truncated, infos = env.step(action)
        total += rewards
        cells[:, y : y + 4, x : x + 4] = window
        np.testing.assert_array_equal(
            observations["map"][..., 0], cells.repeat(2, 1).repeat(2, 2).astype(np.uint8)
        )
        assert not terminated.any()
        assert truncated.all() == (place == 5)
    np.testing.assert_allclose(total, final - start, rtol=0, atol=1e-15)
    np.testing.assert_allclose(infos["score"], final, rtol=1e-6)


def test_cells_are_kept_one_by_one():
    env = make()
    env.reset(seed=0)
    action = edit(2, 4)
    action[:, 1] = 3  # the first cell of the fifth window
    drawn = env.step(action)[0]["map"][..., 0]
    changed = np.zeros((16, 24), bool)
    changed[8:10, 8:10] = True
    assert (drawn[:, changed] == 3).all()
    assert (drawn[:, ~changed] == drawn[0, 0, 0]).all()
    _, rewards, terminated, truncated, _ = env.step(edit(2, 0))
    assert (rewards == 0).all()
    assert not (terminated | truncated).any()


def test_stopping_terminates_and_leaves_the_map():
    env = make(feedback="noisy:0.2")
    env.reset(seed=0)
    before, *_, infos = env.step(edit(2, 0, 3))
    action = edit(2, STOP, 5)
    action[1, 0] = 1
    after, rewards, terminated, truncated, told = env.step(action)
    np.testing.assert_array_equal(after["map"][0], before["map"][0])
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert rewards[0] == 0.0  # nothing was measured anew
    assert told["score"][0] == infos["score"][0]
    assert told["score"][1] != infos["score"][1]


def test_a_stopped_map_waits_for_its_group():
    env = make(num_envs=4, group_size=2, max_steps=3)
    env.reset(seed=0)
    action = edit(4, 0, 3)
    action[0, 0] = STOP
    _, rewards, terminated, truncated, _ = env.step(action)
    assert rewards[0] == 0.0
    assert env.unwrapped.stopped.tolist() == [True, False, False, False]
    assert not (terminated | truncated).any()
    waiting, rewards, *_ = env.step(edit(4, 1, 4))
    assert rewards[0] == 0.0  # what it says is ignored
    assert (waiting["map"][0] == waiting["map"][0, 0, 0]).all()
    assert (waiting["map"][1] != waiting["map"][0]).any()
    state = json.loads(json.dumps(env.unwrapped.get_state()))
    twin = make(num_envs=4, group_size=2, max_steps=3)
    twin.unwrapped.set_state(state)
    action = edit(4, 2, 4)
    action[3, 0] = STOP
    results = env.step(action)
    assert_same(results, twin.step(action))
    assert results[2].tolist() == [True, False, False, True]
    assert results[3].tolist() == [False, True, True, False]


def test_a_group_ends_when_all_have_stopped():
    env = make(num_envs=4, group_size=2, autoreset_mode="SameStep")
    env.reset(seed=0)
    action = edit(4, 0, 3)
    action[:2, 0] = STOP
    observations, _, terminated, _, infos = env.step(action)
    assert terminated.tolist() == [True, True, False, False]
    assert observations["step"].ravel().tolist() == [0, 0, 1, 1]
    assert infos["final_obs"]["step"][:2].ravel().tolist() == [1, 1]
    assert infos["_score"].tolist() == [False, False, True, True]
    assert infos["final_info"]["_score"].tolist() == [True, True, False, False]


def test_hidden_gains_are_paid_at_the_end():
    seen, hidden = make(max_steps=3), make(max_steps=3, show_scores=False)
    for env in (seen, hidden):
        env.reset(seed=0)
    total, rewards, infos = np.zeros(2), np.zeros(2), {}
    for step, place in enumerate((0, 3, STOP)):
        total += seen.step(edit(2, place, step))[1]
        _, rewards, _, _, infos = hidden.step(edit(2, place, step))
        if step < 2:
            assert (rewards == 0).all()
            assert infos == {}
    np.testing.assert_allclose(rewards, total, rtol=0, atol=1e-15)
    assert infos["_score"].all()


def bright_cells(images: np.ndarray) -> np.ndarray:
    """A start that tells images apart: class 1 where they are bright."""
    return (images.mean(-1).reshape(len(images), 8, 2, 12, 2).mean((2, 4)) > 127).astype(np.int64)


def test_episodes_begin_with_the_maps_of_a_function():
    env = make(num_envs=4, group_size=2, start=bright_cells, autoreset_mode="SameStep")
    observations, _ = env.reset(seed=0)
    for _ in range(2):
        want = bright_cells(observations["image"]).repeat(2, 1).repeat(2, 2)
        np.testing.assert_array_equal(observations["map"][..., 0], want)
        assert want.any()
        observations = env.step(edit(4, STOP))[0]
    named = make(start=f"{__name__}:bright_cells")
    assert (named.reset(seed=0)[0]["map"] == 1).any()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda images: np.zeros((len(images), 8, 11), int), r"must have shape \(2, 8, 12\)"),
        (lambda images: np.full((len(images), 8, 12), 6), "start returns must hold classes 0..5"),
        (lambda images: np.zeros((len(images), 8, 12)), "start returns must be integers"),
    ],
)
def test_bad_starts_are_refused(start, message):
    with pytest.raises(InputError, match=message):
        make(start=start).reset(seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 3}, r"window must divide the grid of 8x12 cells; valid: \[1, 2, 4\], got 3"),
        ({"window": 0}, "window must be a whole number of at least 1, got 0"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1, got 0"),
        ({"start": "nothing"}, "start must be 'majority', 'module:function' or a callable"),
        ({"start": "no_module:f"}, "start 'no_module:f' is not 'module:function'"),
        ({"start": 3}, "start must be 'majority'"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_bad_actions_change_nothing():
    env = make(validate_actions=False)
    env.reset(seed=0)
    state = env.unwrapped.get_state()
    for place in (-1, 7):
        action = edit(2, 0)
        action[1, 0] = place
        message = rf"must hold windows 0..5, or 6 to stop, got {place} at index 1"
        with pytest.raises(ActionError, match=message):
            env.step(action)
    checked = make()
    checked.reset(seed=0)
    with pytest.raises(ActionError, match=r"actions\[:, 1:\] must hold classes 0..6, got 7"):
        checked.step(edit(2, 0, 7))
    assert env.unwrapped.get_state() == state


def test_data_without_labels_begins_with_the_first_class(folder_data):
    options = {key: value for key, value in folder_data.items() if key != "labels"}
    env = gym.make_vec(
        "RSS/Folder-Refine-v0", 2, image_size=16, scales=(2,),
        scorer=lambda images, maps: (maps == 1).mean((2, 3)), **options,
    )  # fmt: skip
    assert (env.reset(seed=0)[0]["map"] == 0).all()
    assert (env.step(np.concatenate([[[0]] * 2, np.ones((2, 64), int)], 1))[1] == 1.0).all()
