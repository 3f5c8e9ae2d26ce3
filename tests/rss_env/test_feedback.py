from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rss_env import counter_random
from rss_env.errors import InputError
from rss_env.feedback import Feedback, call_scorer, load_scorer, rank_within_group

SEEDS, EPISODES = np.array([3, 4]), np.array([0, 7])


def seen_of(
    feedback: Feedback,
    scores: torch.Tensor,
    seeds: Any,
    episodes: Any,
    judged: torch.Tensor | None = None,
) -> torch.Tensor:
    def states(shape: tuple[int, int]) -> torch.Tensor:
        return torch.from_numpy(feedback.noise_states(seeds, episodes, shape))

    nothing = torch.zeros(scores.shape, dtype=torch.int64)
    return feedback.apply(scores, states, lambda: nothing if judged is None else judged)


def test_exact_changes_nothing():
    scores = torch.rand(2, 3, 4)
    assert seen_of(Feedback.parse("exact", 3), scores, SEEDS, EPISODES) is scores


def test_rating_rounds_to_stars():
    scores = torch.tensor([0.0, 0.09, 0.11, 0.5, 0.71, 1.0]).view(2, 3, 1)
    seen = seen_of(Feedback.parse("rating", 3), scores, SEEDS, EPISODES).flatten()
    torch.testing.assert_close(seen, torch.tensor([0.0, 0.0, 0.2, 0.4, 0.8, 1.0]))
    seen = seen_of(Feedback.parse("rating:1", 3), scores, SEEDS, EPISODES)
    assert set(seen.flatten().tolist()) <= {0.0, 1.0}


def test_ranking_by_hand():
    scores = torch.tensor([[0.3, 0.9, 0.3, 0.5], [0.1, 0.1, 0.1, 0.1]])[..., None]
    seen = seen_of(Feedback.parse("ranking", 4), scores, SEEDS, EPISODES)[..., 0]
    expected = torch.tensor([[0.5, 3.0, 0.5, 2.0], [1.5, 1.5, 1.5, 1.5]]) / 3
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(rank_within_group(scores)[..., 0], expected)


def test_noise_has_its_deviation_and_is_a_function_of_the_counters_and_of_what_is_judged():
    feedback = Feedback.parse("noisy:0.1", 50)
    scores = torch.full((2, 50, 40), 0.5)
    judged = torch.randint(-(2**62), 2**62, scores.shape)
    seen = seen_of(feedback, scores, SEEDS, EPISODES, judged)
    noise = (seen - scores).numpy()
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 0.1) < 0.005
    assert len(np.unique(noise)) > 3900
    again = seen_of(feedback, scores, SEEDS, EPISODES, judged)
    torch.testing.assert_close(again, seen, rtol=0, atol=0)
    for other in (
        seen_of(feedback, scores, SEEDS, EPISODES + 1, judged),
        seen_of(feedback, scores, SEEDS, EPISODES, judged + 1),
    ):
        assert not np.isclose(other, seen).any(axis=(1, 2)).all()
        correlation = np.corrcoef((other - scores).flatten(), noise.flatten())[0, 1]
        assert abs(correlation) < 0.06
    alone = seen_of(feedback, scores[1:], SEEDS[1:], EPISODES[1:], judged[1:])
    torch.testing.assert_close(alone[0], seen[1], rtol=0, atol=0)


def test_keys_on_a_device_draw_as_counters_do():
    counters, keys = np.arange(6).reshape(2, 3), np.array([[0, 1, 2], [2**40, 2**62, 7]])
    states = torch.from_numpy(counter_random.hash_counters(5, counters).view(np.int64))
    found = counter_random.normal_of_keys(states, torch.from_numpy(keys))
    np.testing.assert_allclose(found, counter_random.normal(5, counters, keys), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "group_size", "message"),
    [
        ("stars", 2, "unknown feedback 'stars'; valid: exact, rating, noisy, ranking"),
        ("rating:2.5", 2, "rating:<whole number"),
        ("rating:0", 2, "rating:<whole number"),
        ("noisy:-1", 2, "noisy:<standard deviation>"),
        ("noisy:nan", 2, "noisy:<standard deviation>"),
        ("noisy:inf", 2, "noisy:<standard deviation>"),
        ("exact:3", 2, "is invalid"),
        ("ranking", 1, "group_size > 1"),
        (None, 1, "must be a string"),
    ],
)
def test_bad_feedback_is_refused(text, group_size, message):
    with pytest.raises(InputError, match=message):
        Feedback.parse(text, group_size)


def constant(value: float):
    """A scorer that always answers the same."""
    return lambda images, action_maps: np.full(action_maps.shape[:2], value)


def test_scorers_are_checked():
    images = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    maps = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    kinds = []

    def fair(images, action_maps):
        kinds.append(type(images))
        return np.full(action_maps.shape[:2], 0.25)

    assert call_scorer(fair, images, maps, numpy=True).tolist() == [[0.25] * 3] * 2
    assert call_scorer(fair, images, maps, numpy=False).dtype == torch.float32
    assert kinds == [np.ndarray, torch.Tensor]
    with pytest.raises(InputError, match=r"shape \(2, 3\), got \(2,\)"):
        call_scorer(lambda images, action_maps: np.zeros(2), images, maps, numpy=True)
    for wrong in (np.nan, 1.5, -0.1):
        with pytest.raises(InputError, match=r"in \[0, 1\]"):
            call_scorer(constant(wrong), images, maps, numpy=True)


@pytest.mark.parametrize("fault", ["raises", "NaN", "shape", "dtype", "nothing"])
@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_a_scorer_that_fails_leaves_the_environment_where_it_was(fault, array):
    fails = [True]

    def scorer(images, action_maps):
        scores = np.linspace(0.2, 0.8, action_maps.shape[1], dtype=np.float32)
        scores = np.tile(scores, (len(images), 1))
        if not fails[0] or len(np.unique(action_maps)) < 2:  # fails at the second scale
            return scores
        if fault == "raises":
            raise ConnectionError("the reward model is away")
        return {"NaN": scores * np.nan, "shape": scores[:1], "dtype": "good", "nothing": None}[
            fault
        ]

    env: Any = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=4, group_size=2, scorer=scorer, array=array,
        num_scenes=8, image_size=16, scales=(4, 1),
    ).unwrapped  # fmt: skip
    before, _ = env.reset(seed=0)
    actions = np.zeros((4, 272), np.int64)
    actions[:, 20:50] = 1
    actions = torch.from_numpy(actions) if array == "torch" else actions
    state = env.get_state()
    with pytest.raises(ConnectionError if fault == "raises" else InputError):
        env.step(actions)
    assert env.get_state() == state
    np.testing.assert_array_equal(env.observe(), before)
    fails[0] = False
    _, rewards, _, _, _ = env.step(actions)
    assert np.asarray(rewards).tolist() == pytest.approx([0.2, 0.8] * 2)


def test_scorers_load_by_name():
    loaded: Any = load_scorer("math:sqrt")
    assert loaded.__name__ == "sqrt"
    assert load_scorer(None) is None
    for wrong in ("math", "math:nothing", "no_such_module:f", ":", "math:pi"):
        with pytest.raises(InputError, match="scorer"):
            load_scorer(wrong)
    with pytest.raises(InputError, match="callable"):
        load_scorer(3)  # pyright: ignore[reportArgumentType]


def test_counter_random_is_uniform_and_independent():
    seeds = np.arange(1000)
    draws = counter_random.uniform(seeds[:, None], np.arange(20)[None])
    assert draws.shape == (1000, 20)
    assert abs(draws.mean() - 0.5) < 0.01
    assert abs(draws.var() - 1 / 12) < 0.002
    correlation = np.corrcoef(draws, rowvar=False) - np.eye(20)
    assert abs(correlation).max() < 0.15
    assert len(np.unique(draws)) == draws.size
    np.testing.assert_array_equal(counter_random.uniform(5, 3), draws[5, 3])
    integers = counter_random.integers(7, seeds)
    assert set(integers.tolist()) == set(range(7))
    normal = counter_random.normal(seeds)
    assert abs(normal.mean()) < 0.12
    assert abs(normal.std() - 1) < 0.1


def test_keys_are_not_interchangeable():
    assert counter_random.hash_counters(1, 2) != counter_random.hash_counters(2, 1)
    assert counter_random.hash_counters(0) != counter_random.hash_counters(0, 0)


def test_ranks_leave_out_what_has_no_score():
    nan = torch.nan
    scores = torch.tensor([[[0.3, nan, nan], [0.1, 0.5, nan], [nan, 0.5, 0.2]]])
    expected = torch.tensor([[[1.0, nan, nan], [0.0, 0.5, nan], [nan, 0.5, 0.5]]])
    torch.testing.assert_close(rank_within_group(scores), expected, equal_nan=True)


def test_what_a_scorer_changes_in_place_stays_its_own():
    images, maps = torch.full((1, 4, 4, 3), 9, dtype=torch.uint8), torch.ones(1, 2, 4, 4).byte()
    reused = np.zeros((1, 2), np.float32)

    def careless(shown: Any, action_maps: Any) -> Any:
        shown[:] = 0
        action_maps[:] = 7
        reused[:] += 0.25
        return reused

    first = call_scorer(careless, images, maps, numpy=True)
    second = call_scorer(careless, images, maps, numpy=False)
    assert (images == 9).all()
    assert (maps == 1).all()
    assert first.tolist() == [[0.25, 0.25]]
    assert second.tolist() == [[0.5, 0.5]]


def test_scores_of_a_network_need_no_gradient():
    images, maps = torch.zeros(1, 4, 4, 3).byte(), torch.zeros(1, 2, 4, 4).byte()
    answer = torch.full((1, 2), 0.5, requires_grad=True)
    assert not call_scorer(lambda *_: answer, images, maps, numpy=False).requires_grad
