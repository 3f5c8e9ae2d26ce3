"""What episodes of several steps share: pictures, and the ids beside those of one step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from PIL import Image

from rss_env import environment_ids
from rss_env.errors import BudgetSpentError
from rss_env.recorder import RecordEpisodes
from rss_env.registration import LEVEL_NAMES, SEQUENCE_NAMES, parse_environment_id
from rss_env.wrappers import InfosAtReset
from small_environments import SMALL, actions_for, assert_same

OPTIONS = {**SMALL, "num_scenes": 12}
SIDE, GAP = 24 * 5, 4  # of a frame of 16 x 24 pixels in a strip


def test_ids_are_of_one_step_or_of_several():
    assert {*environment_ids(LEVEL_NAMES), *environment_ids(SEQUENCE_NAMES)} == {*environment_ids()}
    assert parse_environment_id("RSS/VOC-Refine-v0") == ("VOC", "Refine")


@pytest.mark.parametrize("name", SEQUENCE_NAMES)
def test_the_map_so_far_is_drawn_over_the_image(name):
    env: Any = gym.make_vec(f"RSS/Shapes-{name}-v0", 2, render_mode="rgb_array", **OPTIONS)
    observations, _ = env.reset(seed=0)
    frames = np.stack(env.render())
    shown = observations["image"]
    if name == "Refine":  # background, which is black, lies over it
        shown = (0.4 * shown).astype(np.uint8)
    np.testing.assert_array_equal(frames, shown)
    action = np.zeros_like(actions_for(env, 0))
    env.step(action)
    dark = np.stack(env.render())
    np.testing.assert_array_equal(dark, (0.4 * observations["image"]).astype(np.uint8))


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_strip_shows_how_episodes_grow(mode, tmp_path):
    env = gym.make_vec(
        "RSS/Shapes-Progressive-v0", 2, render_mode="rgb_array", autoreset_mode=mode, **OPTIONS
    )
    env = RecordEpisodes(env, tmp_path)
    env.reset(seed=0)
    expected = []
    for step in range(7):
        env.step(actions_for(env, step))
        if mode == "SameStep" or step != 3:  # which only resets
            expected.append(env.render())
    env.close()
    strip = np.array(Image.open(tmp_path / "episodes.png"))
    assert strip.shape == (2 * 80 + GAP, len(expected) * (SIDE + GAP) - GAP, 3)
    for moment, frames in enumerate(expected):
        x = moment * (SIDE + GAP)
        np.testing.assert_array_equal(strip[:80:5, x : x + SIDE : 5], frames[0])
    with Image.open(tmp_path / "episodes.gif") as film:
        assert film.n_frames == len(expected)


@pytest.mark.parametrize("name", SEQUENCE_NAMES)
def test_infos_of_resets_can_be_as_those_of_steps(name):
    env = InfosAtReset(gym.make(f"RSS/Shapes-{name}-v0", **OPTIONS))
    _, at_reset = env.reset(seed=0)
    *_, of_step = env.step(env.action_space.sample())
    assert at_reset.keys() == of_step.keys() == {"score"}
    assert np.isnan(at_reset["score"])
    assert at_reset["score"].dtype == of_step["score"].dtype == np.float32
    assert at_reset["score"].shape == of_step["score"].shape == ()


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("name", SEQUENCE_NAMES)
def test_images_are_numbered_and_can_be_chosen(name, mode):
    options = {**OPTIONS, "image_index": True}
    env = gym.make_vec(f"RSS/Shapes-{name}-v0", 3, autoreset_mode=mode, **options)
    sync = gym.make_vec(
        f"RSS/Shapes-{name}-v0", 3, vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)}, **options,
    )  # fmt: skip
    for number in (None, 7):
        chosen = {} if number is None else {"options": {"index": number}}
        got, want = env.reset(seed=5, **chosen), sync.reset(seed=5, **chosen)
        assert_same(got, want)
        assert number in (None, got[1]["image_index"][0])
        for step in range(5):
            action = actions_for(env, step)
            got, want = env.step(action)[4], sync.step(action)[4]
            assert_same(got["image_index"], want["image_index"])
            assert_same(got.get("final_info", {}), want.get("final_info", {}))


def test_a_budget_of_scores_is_kept():
    drawn: Any = gym.make_vec("RSS/Shapes-Progressive-v0", 2, query_budget=5, **OPTIONS).unwrapped
    edited: Any = gym.make_vec("RSS/Shapes-Refine-v0", 2, query_budget=5, **OPTIONS).unwrapped
    for env, steps in ((drawn, 2), (edited, 1)):  # the first map of an edited one is scored as well
        env.reset(seed=0)
        for _ in range(steps):
            env.step(np.zeros_like(actions_for(env, 0)))
        assert env.score_queries == 4
        assert type(env.score_queries) is int  # as JSON takes it
        state = env.get_state()
        with pytest.raises(BudgetSpentError, match="asks for 2 scores, and 1 are left"):
            env.step(np.zeros_like(actions_for(env, 0)))
        assert env.get_state() == state
    stops = np.zeros_like(actions_for(edited, 0))
    stops[:, 0] = edited.num_windows
    edited.step(stops)  # nothing is measured
    assert edited.score_queries == 4


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
@pytest.mark.parametrize("name", SEQUENCE_NAMES)
def test_observations_share_images_that_never_change(name, mode):
    options = {**OPTIONS, "group_size": 2, **({"max_steps": 3} if name == "Refine" else {})}
    env: Any = gym.make_vec(f"RSS/Shapes-{name}-v0", 6, autoreset_mode=mode, **options)
    data = env.unwrapped._scenes.images.numpy()
    before, kept = data.copy(), list[tuple[np.ndarray, np.ndarray]]()

    def keep(observations: dict[str, np.ndarray]) -> np.ndarray:
        image = observations["image"]
        assert not image.flags.writeable
        with pytest.raises(ValueError, match="read-only|WRITEABLE"):
            image.flags.writeable = True
        assert not np.shares_memory(image, data)
        kept.append((image, image.copy()))
        return image

    seen = keep(env.reset(seed=0)[0])
    shared = 0
    for step in range(14):
        observations, *_, infos = env.step(actions_for(env, step))
        last, seen = seen, keep(observations)
        begins = (observations["step"] == 0).any()
        assert np.shares_memory(seen, last) is not bool(begins)
        shared += not begins
        if "final_obs" in infos:
            assert np.shares_memory(keep(infos["final_obs"]), last)
        over = env.unwrapped._done.repeat(2)
        if mode == "Disabled" and (over.any() or step == 4):  # there, of some in an episode
            mask = over if over.any() else np.arange(6) < 2
            fresh = keep(env.reset(options={"reset_mask": mask})[0])
            assert not np.shares_memory(fresh, seen)
            np.testing.assert_array_equal(fresh[~mask], seen[~mask])
            seen = fresh
    assert shared > 4
    state = env.unwrapped.get_state()
    env.unwrapped.set_state(state)
    assert not np.shares_memory(keep(env.unwrapped.observe()), seen)
    for image, want in kept:
        np.testing.assert_array_equal(image, want)
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
@pytest.mark.parametrize("name", SEQUENCE_NAMES)
def test_maps_of_observations_stay_as_they_are(name, mode):
    """Though those of single pixels are not copied, and actions may be bytes, which are written."""
    env: Any = gym.make_vec(f"RSS/Shapes-{name}-v0", 4, autoreset_mode=mode, **OPTIONS)
    kept = list[tuple[np.ndarray, np.ndarray]]()
    action = actions_for(env, 0).astype(np.uint8)

    def keep(observations: dict[str, np.ndarray]) -> None:
        drawn = observations["map"]
        with pytest.raises(ValueError, match="read-only|WRITEABLE"):
            drawn.flags.writeable = True
        kept.append((drawn, drawn.copy()))

    keep(env.reset(seed=0)[0])
    for step in range(14):
        action[:] = actions_for(env, step)
        observations, *_, infos = env.step(action)
        keep(observations)
        if "final_obs" in infos:
            keep(infos["final_obs"])
        if mode == "Disabled" and env.unwrapped._done.any():
            keep(env.reset(options={"reset_mask": env.unwrapped._done.copy()})[0])
    for drawn, want in kept:
        np.testing.assert_array_equal(drawn, want)
    assert len({want.tobytes() for _, want in kept}) > 6


@pytest.mark.parametrize("name", SEQUENCE_NAMES)
def test_what_is_written_to_an_observation_is_seen_nowhere_else(name):
    for array in ("numpy", "torch"):
        env, twin = (
            gym.make_vec(f"RSS/Shapes-{name}-v0", 2, array=array, **OPTIONS) for _ in range(2)
        )
        observations, want = env.reset(seed=0)[0], twin.reset(seed=0)[0]
        for step in range(9):
            assert_same(observations, want)
            for part in ("image", "map"):
                if array == "torch":
                    observations[part].add_(1)
                else:
                    observations[part].shape = -1
            action = actions_for(env, step)
            action = torch.from_numpy(action) if array == "torch" else action
            observations, *others = env.step(action)
            want, *expected = twin.step(action)
            assert_same(others, expected)
