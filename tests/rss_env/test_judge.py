"""Rewards, scores and feedback of the vector environment, and nothing else."""

from __future__ import annotations

import copy
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
import torch

from rss_env import RSSVectorEnv
from rss_env.errors import InputError
from rss_env.rewards import METRICS, RatioMetric, score_counts
from small_environments import SMALL, actions_for, assert_same, make

TINY = {"num_scenes": 12, "image_size": 16, "scales": (4, 1)}


def test_flips_mirror_image_and_label_together():
    env = make(num_envs=16, horizontal_flip=True, scales=(1,), array="torch").unwrapped
    env.reset(seed=0)
    batch = env._batch
    assert batch.mirrored.any()
    assert not batch.mirrored.all()
    labels = env._scenes.labels_of(batch).flatten(1)
    _, rewards, *_ = env.step(labels)
    torch.testing.assert_close(rewards, torch.ones(16))


def test_true_labels_score_one_at_every_level():
    for level in ("ImageReward", "PixelReward"):
        env = make(f"RSS/Shapes-{level}-v0", scales=(1,), array="torch").unwrapped
        env.reset(seed=0)
        labels = env._scenes.labels_of(env._batch).flatten(1)
        torch.testing.assert_close(env.step(labels)[1], torch.ones(4))


def test_pixel_reward_is_the_mean_of_its_cells():
    env = make("RSS/Shapes-PixelReward-v0", scale_weights=[2, 1, 1])
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step(actions_for(env, 0))
    cells = infos["final_info"]["pixel_rewards"]
    assert cells.shape == (4, 6 + 24 + 384)
    parts = [cells[:, :6].mean(1), cells[:, 6:30].mean(1), cells[:, 30:].mean(1)]
    np.testing.assert_allclose(
        rewards, 0.5 * parts[0] + 0.25 * parts[1] + 0.25 * parts[2], rtol=1e-5
    )
    assert "scale_scores" not in infos["final_info"]


def test_class_balanced_rewards_weigh_rare_classes_up():
    env = make(
        "RSS/Shapes-PixelReward-v0", class_balanced=True, array="torch", scales=(1,)
    ).unwrapped
    env.reset(seed=0)
    labels = env._scenes.labels_of(env._batch).flatten(1)
    rewards = env.step(labels)[4]["final_info"]["pixel_rewards"]
    frequencies = env._scenes.class_frequencies()
    for c in labels.unique().tolist():
        expected = 1 / (frequencies > 0).sum() / frequencies[c]
        torch.testing.assert_close(
            rewards[labels == c], torch.full_like(rewards[labels == c], expected)
        )


def test_scale_weights_weigh_the_scores():
    env = make(scale_weights=[0, 1, 3])
    env.reset(seed=0)
    _, rewards, _, _, infos = env.step(actions_for(env, 0))
    scores = infos["final_info"]["scale_scores"]
    np.testing.assert_allclose(rewards, 0.25 * scores[:, 1] + 0.75 * scores[:, 2], rtol=1e-6)


def test_feedback_is_all_that_is_seen():
    exact, rated = make(), make(feedback="rating:4")
    ranked = make(feedback="ranking", group_size=4)
    for env in (exact, rated, ranked):
        env.reset(seed=0)
    actions = actions_for(exact, 0)
    truth = exact.step(actions)[4]["final_info"]["scale_scores"]
    seen = rated.step(actions)[4]["final_info"]["scale_scores"]
    np.testing.assert_allclose(seen, np.round(truth * 4) / 4)
    _, rewards, _, _, infos = ranked.step(actions)
    ranks = infos["final_info"]["scale_scores"]
    np.testing.assert_allclose(np.sort(ranks[:, 0]), [0, 1 / 3, 2 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(rewards, ranks.mean(1), rtol=1e-6)


def noise_of(level: str, actions: np.ndarray, **options: Any) -> np.ndarray:
    """What noise adds to the scores of actions at seed 0; `index` shows that image."""
    key = "pixel_rewards" if level == "PixelReward" else "scale_scores"
    index = options.pop("index", None)
    found = []
    for feedback in ("noisy:0.1", "exact"):
        env = gym.make_vec(f"RSS/Shapes-{level}-v0", num_envs=len(actions), feedback=feedback,
                           **TINY, **options)  # fmt: skip
        env.reset(seed=0, options=None if index is None else {"index": index})
        found.append(torch.as_tensor(env.step(actions)[4]["final_info"][key]).numpy())
    return found[0] - found[1]


def test_noise_of_two_maps_does_not_cancel():
    """Going back to one seed does not show by how much a map is better than another."""
    one, other = np.random.default_rng(0).integers(0, 6, (2, 4, 16 + 256))
    noise, more = noise_of("ImageReward", one), noise_of("ImageReward", other)
    assert np.abs(noise - more).min() > 1e-4
    np.testing.assert_array_equal(noise_of("ImageReward", one), noise)  # nor do averages tell
    finer = one.copy()
    finer[:, -1] = 5 - finer[:, -1]  # a cell of the finest scale
    partly = noise_of("ImageReward", finer)
    np.testing.assert_allclose(partly[:, 0], noise[:, 0], atol=1e-6)
    assert np.abs(partly[:, 1] - noise[:, 1]).min() > 1e-4
    tensors = noise_of("ImageReward", one, array="torch")
    np.testing.assert_allclose(tensors, noise, atol=1e-6)


def test_noise_is_of_the_image_too():
    actions = np.zeros((1, 16 + 256), np.int64)
    noise = [noise_of("ImageReward", actions, index=index) for index in (1, 2)]
    assert np.abs(noise[0] - noise[1]).min() > 1e-4


def test_noise_of_a_cell_is_of_its_class():
    one = np.zeros((2, 16 + 256), np.int64)
    other = one.copy()
    other[:, 7] = 3
    same = np.arange(one.shape[1]) != 7
    noise, more = noise_of("PixelReward", one), noise_of("PixelReward", other)
    assert np.abs(noise - more)[:, 7].min() > 1e-4
    np.testing.assert_allclose(noise[:, same], more[:, same], atol=1e-6)


def share_of_class_one(images, action_maps):
    """A scorer without labels."""
    assert images.shape[0] == action_maps.shape[0]
    return (action_maps == 1).mean((2, 3))


def test_a_scorer_replaces_labels(folder_data):
    unlabelled = {key: value for key, value in folder_data.items() if key != "labels"}
    with pytest.raises(InputError, match=r"give labels=... or scorer=..."):
        gym.make_vec("RSS/Folder-ImageReward-v0", num_envs=2, **SMALL, **unlabelled)
    for scorer in (share_of_class_one, "test_judge:share_of_class_one"):
        env: Any = gym.make_vec(
            "RSS/Folder-ImageReward-v0", num_envs=4, group_size=2, scorer=scorer, **SMALL,
            **unlabelled,
        )  # fmt: skip
        env.reset(seed=0)
        actions = np.zeros((4, env.unwrapped.geometry.num_cells), np.int64)
        actions[1] = 1
        assert env.step(actions)[1].tolist() == [0, 1, 0, 0]


def test_labels_never_leak():
    """Observations and infos are the same whatever the labels, but for the scores."""
    env = make(num_envs=4, group_size=2, array="torch", render_mode="rgb_array").unwrapped
    blind = make(num_envs=4, group_size=2, array="torch", render_mode="rgb_array").unwrapped
    scenes = copy.copy(blind._scenes)
    scenes.labels = 5 - scenes.labels.clamp(max=5)
    scenes._tables, scenes._known = {}, {}
    scenes.class_pixels = scenes.class_pixels.flip(1)
    blind._scenes = scenes
    blind._judge._scenes = scenes
    assert_same(env.reset(seed=0)[0], blind.reset(seed=0)[0])
    for step in range(3):
        actions = torch.from_numpy(actions_for(env, step))
        got, want = env.step(actions), blind.step(actions)
        for i in (0, 2, 3):
            assert_same(got[i], want[i])
        assert (got[1] != want[1]).any()
        infos, others = got[4], want[4]
        assert set(infos) == {"final_obs", "_final_obs", "final_info", "_final_info"}
        assert set(infos["final_info"]) == {"scale_scores", "_scale_scores"}
        assert_same(infos["final_obs"], others["final_obs"])
        for a, b in zip(env.render(), blind.render(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_void_only_image_scores_zero(folder_data):
    env: Any = gym.make_vec(
        "RSS/Folder-ImageReward-v0", num_envs=2, **SMALL, **folder_data, array="torch"
    )
    env = env.unwrapped
    env._scenes.class_pixels[:] = 0
    for table in env._scenes._tables.values():
        table[:] = 0 if table.ndim == 3 else 255
    env.reset(seed=0)
    assert env.step(torch.zeros(2, env.geometry.num_cells, dtype=torch.uint8))[1].tolist() == [0, 0]


# --- scores of classes, the optional richer feedback ---


def one_step(seed: int = 0, **options):
    """Infos on the first random maps of four sub-environments, and the rewards."""
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=4, group_size=2, array="torch", **TINY, **options
    )
    env.reset(seed=seed)
    env.action_space.seed(seed)
    _, rewards, _, _, infos = env.step(env.action_space.sample())
    return infos.get("final_info", infos), rewards


@pytest.mark.parametrize("metric", ["miou", "dice", "mean_accuracy"])
def test_scores_of_classes_make_up_the_score(metric):
    infos, rewards = one_step(metric=metric, class_scores=True)
    plain, plain_rewards = one_step(metric=metric)
    assert "class_scores" not in plain
    assert infos["class_scores"].shape == (4, 2, 6)
    assert infos["_class_scores"].all()
    torch.testing.assert_close(infos["class_scores"].nanmean(2), infos["scale_scores"])
    torch.testing.assert_close(infos["scale_scores"], plain["scale_scores"], rtol=0, atol=0)
    torch.testing.assert_close(rewards, plain_rewards, rtol=0, atol=0)


def test_feedback_covers_scores_of_classes():
    exact, _ = one_step(class_scores=True)
    stars, _ = one_step(class_scores=True, feedback="rating:5")
    torch.testing.assert_close(
        stars["class_scores"], (exact["class_scores"] * 5).round() / 5, equal_nan=True
    )
    noisy, _ = one_step(class_scores=True, feedback="noisy:0.1")
    noise = noisy["class_scores"] - exact["class_scores"]
    assert noise.isnan().equal(exact["class_scores"].isnan())
    drawn = noise[~noise.isnan()]
    assert 0.03 < drawn.std() < 0.2
    assert len(drawn.unique()) == len(drawn)  # each class has noise of its own
    ranked, _ = one_step(class_scores=True, feedback="ranking")
    ranks = ranked["class_scores"]
    assert set(ranks[~ranks.isnan()].tolist()) <= {0.0, 0.5, 1.0}
    groups, scores = ranks.unflatten(0, (2, 2)), exact["class_scores"].unflatten(0, (2, 2))
    better = scores[:, 0] > scores[:, 1]
    assert better.any()
    assert (groups[:, 0][better] == 1).all()
    assert (groups[:, 1][better] == 0).all()


def test_dead_steps_tell_nothing():
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0",
        num_envs=2,
        class_scores=True,
        autoreset_mode="NextStep",
        **TINY,
    )
    env.reset(seed=0)
    actions = env.action_space.sample()
    assert env.step(actions)[4]["class_scores"].shape == (2, 2, 6)
    assert "class_scores" not in env.step(actions)[4]


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("RSS/Shapes-PixelReward-v0", {}),
        ("RSS/Shapes-ImageReward-v0", {"metric": "pixel_accuracy"}),
        ("RSS/Shapes-ImageReward-v0", {"scorer": lambda images, maps: maps[..., 0, 0] * 0.0}),
    ],
)
def test_where_classes_have_no_score_it_is_refused(env, options):
    with pytest.raises(InputError, match=r"class_scores needs the ImageReward level, labels"):
        gym.make_vec(env, num_envs=2, class_scores=True, **TINY, **options)


# --- metrics of one's own ---


@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_a_metric_added_to_the_table_scores_environments(array):
    """Tversky's index, by its definition (Salehi et al., arXiv 1706.05721)."""
    tversky = RatioMetric(hits=1, predicted=0.3, labelled=0.7, overlap=0)
    with patch.dict(METRICS, tversky=tversky):
        env = RSSVectorEnv(
            4, dataset="Shapes", level="ImageReward", metric="tversky", class_scores=True,
            array=array, **TINY,
        )  # fmt: skip
        env.reset(seed=0)
        env.action_space.seed(0)
        labels = env._scenes.labels_of(env._batch)
        actions = env.action_space.sample()
        given = torch.as_tensor(actions) if array == "torch" else actions
        _, rewards, _, _, infos = env.step(given)
    scores = torch.as_tensor(infos["final_info"]["scale_scores"])
    of_classes = torch.as_tensor(infos["final_info"]["class_scores"])
    torch.testing.assert_close(of_classes.nanmean(2), scores)
    torch.testing.assert_close(torch.as_tensor(rewards).float(), scores.mean(1))
    maps, classes = env.geometry.split(torch.as_tensor(actions))[1], torch.arange(6)[:, None, None]
    chosen, true = maps.view(4, 16, 16)[:, None] == classes, labels[:, None] == classes
    hits = (chosen & true).sum((2, 3))
    false_alarms, misses = (chosen & ~true).sum((2, 3)), (~chosen & true).sum((2, 3))
    ratios = hits / (hits + 0.3 * false_alarms + 0.7 * misses)
    torch.testing.assert_close(of_classes[:, 1], ratios, equal_nan=True)


def test_a_pooled_metric_gives_no_scores_of_classes():
    row = RatioMetric(hits=2, predicted=1, labelled=1, overlap=0, pooled=True)
    with patch.dict(METRICS, pooled_dice=row):
        with pytest.raises(InputError, match=r"mean over classes \(miou, mean_accuracy, dice\)"):
            one_step(metric="pooled_dice", class_scores=True)
        infos, _ = one_step(metric="pooled_dice")
        counts = torch.tensor([3, 1]), torch.tensor([4, 6]), torch.tensor([5, 5])
        assert score_counts("pooled_dice", *counts).item() == pytest.approx(0.4)
    assert ((infos["scale_scores"] > 0) & (infos["scale_scores"] < 1)).all()
