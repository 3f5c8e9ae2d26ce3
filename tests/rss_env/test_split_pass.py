"""A pass over a split: each image once, the metric of all of them, and how libraries see it."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from rss_agents.networks.evaluation import evaluate_maps
from rss_agents.sb3 import make_sb3_env
from rss_agents.sb3.vec_env import as_one
from rss_env.datasets import open_dataset
from rss_env.errors import BudgetSpentError, InputError
from rss_env.scene_stream import shares_of_groups
from rss_env.scenes import load_scenes
from small_environments import SMALL, actions_for, assert_same, make

ID = "RSS/Shapes-ImageReward-v0"
OPTIONS: dict[str, Any] = {"split": "val", "num_scenes": 11, **SMALL}


def scenes():
    return load_scenes(open_dataset("Shapes", split="val", num_scenes=11), (16, 24))


def board(predict) -> float:
    """What the leaderboard says of a function of images."""
    return evaluate_maps(scenes(), predict).miou


class Constant:
    """A policy of Stable-Baselines3's kind that answers one class, or each image's brightness."""

    def __init__(self, number: int | None, cells: int):
        self.number, self.cells = number, cells

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        if self.number is not None:
            return np.full((len(observation), self.cells), self.number), None
        images = torch.as_tensor(observation)
        return np.concatenate([np.zeros((len(images), 30), int), by_brightness(images)], 1), None


def by_brightness(images: torch.Tensor) -> np.ndarray:
    return (images.float().mean(3) / 256 * 6).long().flatten(1).numpy()


@pytest.mark.parametrize("number", [0, 3, None])
@pytest.mark.parametrize("num_envs", [1, 3, 4])
def test_the_mean_reward_of_a_library_is_the_metric_of_the_board(number, num_envs):
    """Of all-background as of another policy, native and singles, and again in the next pass."""

    def answer(images):
        if number is not None:
            return torch.full(images.shape[:3], number)
        return torch.from_numpy(by_brightness(images)).view(images.shape[:3])

    expected = board(answer)
    native = make_sb3_env(ID, num_envs, evaluation="dataset", **OPTIONS)
    policy: Any = Constant(number, native.env.geometry.num_cells)
    for _ in range(2):
        mean, _ = evaluate_policy(policy, native, n_eval_episodes=11, warn=False)
        assert mean == pytest.approx(expected, abs=1e-6)
    if num_envs == 1:
        single = DummyVecEnv([lambda: gym.make(ID, evaluation="dataset", **OPTIONS)])
        for _ in range(2):
            mean, _ = evaluate_policy(policy, single, n_eval_episodes=11, warn=False)
            assert mean == pytest.approx(expected, abs=1e-6)
    if num_envs == 4:  # as RL Zoo makes them
        singles = [lambda: gym.make(ID, evaluation="dataset", **OPTIONS)] * 4
        one = as_one(DummyVecEnv(singles), group_size=4)
        mean, _ = evaluate_policy(policy, one, n_eval_episodes=11, warn=False)
        assert mean == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_a_pass_shows_each_image_once_and_in_order(mode):
    env = make(num_envs=3, evaluation="images", image_index=True, autoreset_mode=mode, **OPTIONS)
    first, infos = env.reset(seed=3)
    seen: list[list[int]] = [[], [], []]
    np.testing.assert_array_equal(infos["image_index"], [0, 3, 7])
    while len(seen[2]) < 4:
        _, _, terminated, _, infos = env.step(actions_for(env, 0))
        told = infos.get("final_info", infos)
        for member in np.flatnonzero(terminated):
            seen[member].append(int(told["image_index"][member]))
        if mode == "Disabled":
            env.reset()
    assert [seen[0][:3], seen[1], seen[2]] == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10]]
    assert seen[0][3] == 0  # its share again
    again, _ = env.reset(seed=8)
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(("groups", "count"), [(1, 5), (2, 5), (3, 11), (4, 4), (5, 3)])
def test_shares_cover_everything_once(groups, count):
    first, counts = shares_of_groups(groups, count)
    own = (count + np.arange(groups)) // groups
    found = [i for g in range(groups) for i in range(first[g], first[g] + own[g])]
    assert found == list(range(count))
    assert ((counts == own) | (own == 0)).all()
    assert (first + counts <= count).all()


def test_normalised_scores_go_from_the_majority_to_the_best_maps():
    options = {**OPTIONS, "scales": (8, 4)}
    env = make(num_envs=1, evaluation="normalised", array="torch", **options)
    data, geometry = scenes(), env.unwrapped.geometry
    assert data.class_pixels is not None
    majority = int(data.class_pixels.sum(0).argmax())
    table = data.label_table(4)[..., :-1].argmax(2)
    for best in (False, True):
        env.reset(seed=0)
        rewards, infos = [], {}
        for image in range(11):
            action = torch.full((1, geometry.num_cells), majority)
            if best:
                action[0, geometry.offsets[1] :] = table[image]
            _, reward, _, _, infos = env.step(action)
            rewards.append(float(reward))
        told = infos["final_info"]
        assert float(told["normalised_score"]) == pytest.approx(float(best))
        assert np.mean(rewards) == pytest.approx(float(best), abs=1e-6)
        assert 0.0 < float(told["dataset_score"]) < 1.0  # cells of 4 pixels


def test_an_evaluation_goes_on_from_its_state_and_its_copy():
    def fresh():
        return make(num_envs=3, evaluation="dataset", **OPTIONS).unwrapped

    env, other = fresh(), fresh()
    env.reset(seed=0)
    for step in range(5):  # over the end of a pass
        env.step(actions_for(env, step))
    other.reset(seed=9)
    before = other.get_state()
    bad = env.get_state() | {"seen": [0, 0]}
    with pytest.raises(InputError, match="of a pass over 11 images with 6 classes"):
        other.set_state(bad)
    assert other.get_state() == before
    other.set_state(env.get_state())
    copy = pickle.loads(pickle.dumps(env))
    expected = env.step(actions_for(env, 9))
    for twin in (other, copy):
        for got, want in zip(twin.step(actions_for(env, 9)), expected, strict=True):
            assert_same(got, want)


def test_images_are_chosen_by_their_numbers():
    """In singles and in many, for one episode; the state has them."""
    env = make(num_envs=4, group_size=2, image_index=True)
    images = env.unwrapped.images_of(torch.arange(12)).numpy()
    found, infos = env.reset(seed=0, options={"index": [3, 3, 11, 11]})
    np.testing.assert_array_equal(infos["image_index"], [3, 3, 11, 11])
    np.testing.assert_array_equal(found, images[[3, 3, 11, 11]])
    state = env.unwrapped.get_state()
    following, _, _, _, infos = env.step(actions_for(env, 0))
    np.testing.assert_array_equal(infos["final_info"]["image_index"], [3, 3, 11, 11])
    np.testing.assert_array_equal(following, images[infos["image_index"]])
    env.unwrapped.set_state(state)
    np.testing.assert_array_equal(env.unwrapped.observe(), found)
    with pytest.raises(InputError, match=r"state\['chosen'\] must be below 12"):
        env.unwrapped.set_state(state | {"chosen": [0, 12]})
    with pytest.raises(InputError, match="alike within a group"):
        env.reset(options={"index": [3, 4, 5, 5]})
    plain = make(num_envs=4, group_size=2)
    plain.reset(seed=0)
    plain.step(actions_for(env, 0))  # the stream goes on as if no image had been chosen
    np.testing.assert_array_equal(plain.unwrapped.observe(), following)
    single = gym.make(ID, num_scenes=12, image_index=True, **SMALL)
    found, info = single.reset(options={"index": 7})
    assert info == {"image_index": 7}
    np.testing.assert_array_equal(found, images[7])
    assert single.step(actions_for(env, 0)[0])[4]["image_index"] == 7


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_numbers_are_told_as_by_singles(mode):
    options = {**SMALL, "num_scenes": 12, "image_index": True}
    native: Any = gym.make_vec(ID, 3, autoreset_mode=mode, **options)
    sync: Any = gym.make_vec(
        ID,
        3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)},
        **options,
    )
    for env in (native, sync):
        env.action_space.seed(0)
    assert_same(native.reset(seed=5)[1], sync.reset(seed=5)[1])
    for _ in range(4):
        actions = native.action_space.sample()
        assert_same(native.step(actions)[4], sync.step(actions)[4])
        if mode == "Disabled":
            reset = {"reset_mask": np.array([True, False, True]), "index": 4}
            only = {"reset_mask": np.array([False, True, False])}
            for change in (reset, only):
                want = sync.reset(options={"reset_mask": change["reset_mask"]})[1]
                got = native.reset(options={"reset_mask": change["reset_mask"]})[1]
                assert_same(got, want)


def test_a_library_s_environment_takes_numbers_too():
    env = make_sb3_env(ID, 2, image_index=True, num_scenes=12, **SMALL)
    env.set_options([{"index": 3}, {"index": 5}])
    env.reset()
    assert [info["image_index"] for info in env.reset_infos] == [3, 5]
    _, _, _, infos = env.step(np.zeros((2, env.env.geometry.num_cells), int))
    assert [info["image_index"] for info in infos] == [3, 5]
    with pytest.raises(InputError, match=r"must be in 0..11, got array\(\[ 3, 12\]\)"):
        env.set_options([{"index": 3}, {"index": 12}])
    with pytest.raises(InputError, match="an image for every sub-environment"):
        env.set_options([{"index": 3}, {}])
    judge = make_sb3_env(ID, 2, evaluation="images", **OPTIONS)
    judge.reset()
    with pytest.raises(InputError, match="one pass of all sub-environments"):
        judge.env_method("get_state")


def test_scores_are_counted_and_a_budget_is_kept():
    env = make(num_envs=4, query_budget=30, scale_scores=False).unwrapped  # 12 a step
    env.reset(seed=0)
    for asked in (12, 24):
        _, _, _, _, infos = env.step(actions_for(env, 0))
        assert env.score_queries == asked
        assert infos["final_info"] == {}
    before = env.get_state()
    with pytest.raises(
        BudgetSpentError, match="asks for 12 scores, and 6 are left of query_budget"
    ):
        env.step(actions_for(env, 0))
    assert env.get_state() == before
    assert pickle.loads(pickle.dumps(env)).score_queries == 24
    dead = make(num_envs=4, autoreset_mode="NextStep")
    dead.reset(seed=0)
    for _ in range(4):
        dead.step(actions_for(dead, 0))
    assert dead.unwrapped.score_queries == 24  # every other step of this mode scores nothing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluation": "all"}, "unknown evaluation 'all'; valid: images, dataset, normalised"),
        ({"evaluation": "images", "horizontal_flip": True}, "leave out horizontal_flip"),
        ({"evaluation": "images", "group_size": 2}, "group_size must be 1, got 2"),
        ({"evaluation": "dataset", "scorer": "operator:add"}, "needs labels, and no scorer"),
        ({"query_budget": -1}, "query_budget must be a whole number of at least 0, got -1"),
        ({"image_index": 1}, "image_index must be True or False, got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)
    with pytest.raises(InputError, match="scale_scores=False is for the ImageReward level"):
        make("RSS/Shapes-PixelReward-v0", scale_scores=False)
