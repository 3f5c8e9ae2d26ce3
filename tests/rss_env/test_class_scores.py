"""Scores of classes, the optional richer feedback."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

from rss_env.errors import InputError
from rss_env.feedback import rank_within_group

SMALL = {"num_scenes": 12, "image_size": 16, "scales": (4, 1)}


def one_step(seed: int = 0, **options):
    """What is told of the first random maps of four sub-environments, and the rewards."""
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=4, group_size=2, array="torch", **SMALL, **options
    )
    env.reset(seed=seed)
    env.action_space.seed(seed)
    _, rewards, _, _, infos = env.step(env.action_space.sample())
    return infos.get("final_info", infos), rewards


@pytest.mark.parametrize("metric", ["miou", "dice", "mean_accuracy"])
def test_scores_of_classes_make_up_the_score(metric):
    told, rewards = one_step(metric=metric, class_scores=True)
    plain, plain_rewards = one_step(metric=metric)
    assert "class_scores" not in plain
    assert told["class_scores"].shape == (4, 2, 6)
    assert told["_class_scores"].all()
    torch.testing.assert_close(told["class_scores"].nanmean(2), told["scale_scores"])
    torch.testing.assert_close(told["scale_scores"], plain["scale_scores"], rtol=0, atol=0)
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


def test_ranks_leave_out_what_has_no_score():
    nan = torch.nan
    scores = torch.tensor([[[0.3, nan, nan], [0.1, 0.5, nan], [nan, 0.5, 0.2]]])
    expected = torch.tensor([[[1.0, nan, nan], [0.0, 0.5, nan], [nan, 0.5, 0.5]]])
    torch.testing.assert_close(rank_within_group(scores), expected, equal_nan=True)


def test_dead_steps_tell_nothing():
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0",
        num_envs=2,
        class_scores=True,
        autoreset_mode="NextStep",
        **SMALL,
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
        gym.make_vec(env, num_envs=2, class_scores=True, **SMALL, **options)
