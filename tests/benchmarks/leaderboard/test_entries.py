"""Entries: each learns under the budget, and its weights answer as it did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.leaderboard.algorithm import load_algorithm, make_algorithm
from benchmarks.leaderboard.entries import ENTRIES
from benchmarks.leaderboard.entries.learners import OfTraining
from benchmarks.leaderboard.runs import AlgorithmRun
from benchmarks.leaderboard.tracks import TOLD, Track, TrackData
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv

MAPS = {"num_images": 2, "group_size": 2}
SMALL = {**MAPS, "scales": [8, 4], "updates": 5}
SETTINGS = {
    "majority": {},
    "random": {},
    **{f"sb3-{method}": {**MAPS, "scales": [8, 4]} for method in ("ppo", "a2c")},
    **{f"sb3-{method}-cnn": MAPS for method in ("ppo", "a2c")},
}
LEVELS = {"ppo-progressive": "Progressive"}
BUDGET = 20  # scores for two of five updates


def data_of(track: Track, size: int = 16) -> TrackData:
    env = f"RSS/Shapes-{track.level}-v0"
    return TrackData(env, {}, (size,), None, "val")


def run_of(entry: str, told: str, folder: Path, queries: int = BUDGET) -> AlgorithmRun:
    track = Track.of("shapes", queries, told, LEVELS.get(entry))
    size = 64 if entry.endswith("cnn") else 16  # SB3's own convolutions take no smaller images
    settings = SETTINGS.get(entry, SMALL)
    run = AlgorithmRun(track, data_of(track, size), entry, entry, settings, 5, 1, folder)
    run.folder.mkdir(parents=True)
    return run


@pytest.mark.parametrize("entry", ENTRIES)
def test_entries_learn_within_the_budget(entry, tmp_path, one_thread):
    needs_scales = entry in ("rss", "rss-policy-gradient", "ppo-progressive")
    run = run_of(entry, "scales" if needs_scales else "image", tmp_path)
    run.learn()
    queries = run.record()["score_queries"]
    asks = entry not in ("psl", "majority", "random")
    assert queries == (20 if entry.endswith("cnn") else 16) * asks
    scenes = run.data.validation_scenes()
    assert 0.0 < run.evaluate(scenes).miou < 1.0
    if needs_scales:
        with pytest.raises(InputError, match="learns from a score of each .*: --told scales"):
            run_of(entry, "image", tmp_path / "other").learn()


@pytest.mark.parametrize("told", TOLD)
def test_the_default_agent_learns_from_what_tracks_tell(told, tmp_path, one_thread):
    if told == "image":
        return
    run = run_of("rss", told, tmp_path)
    run.learn()
    assert run.record()["score_queries"] == 16
    assert run.is_done


@pytest.mark.parametrize(
    ("entry", "told", "settings", "queries", "updates"),
    [
        ("rss", "scales", {}, BUDGET, 5),  # three of them learn from what is remembered
        ("rss", "ranking", {}, BUDGET, 5),
        ("rss", "cells", {}, BUDGET, 2),  # rewards of cells leave nothing to be learned again
        ("rss", "scales", {"replay": 0}, BUDGET, 2),
        ("rss", "scales", {"zoom": [1.0, 1.5]}, BUDGET, 2),
        ("rss", "scales", {}, 60, 7),
        ("rss-policy-gradient", "scales", {}, BUDGET, 2),
        ("ppo", "image", {}, BUDGET, 2),
        ("psl", "image", {}, BUDGET, 5),
    ],
)
def test_few_scores_are_spread_over_the_updates_of_what_remembers(
    entry, told, settings, queries, updates, one_thread
):
    algorithm = make_algorithm(entry, 6, (16, 16), 5, {**SMALL, **settings})
    assert isinstance(algorithm, OfTraining)
    track = Track.of("shapes", queries, told)
    algorithm.learn(data_of(track).environment(track, algorithm.environment), queries)
    assert algorithm.config.updates == updates


def test_weights_answer_as_what_learned_them(tmp_path, one_thread):
    run = run_of("a2c", "image", tmp_path)
    torch.manual_seed(5)
    learned = make_algorithm("a2c", 6, (16, 16), 5, SMALL)
    learned.learn(run.data.environment(run.track, learned.environment), BUDGET)
    loaded = make_algorithm("a2c", 6, (16, 16), 5, SMALL)
    loaded.load_state_dict(learned.state_dict())
    images = run.data.validation_scenes().images[:8]
    assert torch.equal(loaded.predict(images), learned.predict(images))


def test_the_critic_of_a2c_becomes_the_baseline(one_thread):
    """It learns what rewards are, and advantages are less that, with both signs in a group."""
    algorithm = load_algorithm("a2c")(6, (16, 16), 0, **SMALL)
    track = Track.of("shapes", 10**9, "image")
    env = data_of(track).environment(track, algorithm.environment)
    learner = algorithm.learner(env.unwrapped)
    for _ in range(60):
        next(iter(learner.losses()))
    images = learner.last_batch()["images"].permute(0, 3, 1, 2).float() / 255.0
    error = learner.critic(images)[:, 0] - learner.last_batch()["scores"].mean(1)
    assert error.abs().max() < 0.1
    advantages = learner.advantages(learner.last_batch()["scores"], 1)
    torch.testing.assert_close(advantages.square().mean(), torch.tensor(1.0))


def test_settings_that_nothing_takes_are_refused():
    with pytest.raises(InputError, match=r"settings {.*'warmth': 3.*} are no options of rss-train"):
        make_algorithm("rss", 6, (16, 16), 0, {"warmth": 3})
    algorithm = make_algorithm("sb3-ppo", 6, (16, 16), 0, {"scales": [8]})
    with pytest.raises(InputError, match="a step of 64 maps asks for more than 8 scores"):
        algorithm.learn(None, 8)


def test_importing_entries_needs_no_stable_baselines3():
    code = (
        "import sys, benchmarks.leaderboard.algorithm; sys.exit('stable_baselines3' in sys.modules)"
    )
    root = Path(__file__).parents[3]
    path = {"PYTHONPATH": f"{root}:{root / 'agents'}"}
    assert subprocess.run([sys.executable, "-c", code], env=path).returncode == 0


def test_views_are_those_of_the_settings():
    settings = {**SMALL, "zoom": [1.0, 1.5], "num_views": 3}
    algorithm = make_algorithm("rss", 6, (16, 16), 5, settings)
    track = Track.of("shapes", BUDGET, "scales")
    env = data_of(track).environment(track, algorithm.environment).unwrapped
    assert isinstance(env, RSSVectorEnv)
    assert env.num_shown == 3 * env.num_images
