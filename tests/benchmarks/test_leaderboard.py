"""The leaderboard: its budgets, its intervals, what it writes, what may be submitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tyro

from benchmarks import leaderboard
from benchmarks.leaderboard import (
    QUERIES_PER_UPDATE,
    LeaderboardConfig,
    add_submissions,
    compete,
    intervals,
    updates_for_queries,
    updates_for_seconds,
)
from benchmarks.learning.suites import VARIANTS
from rss_agents.algorithms.registry import acts_at_one_scale
from rss_agents.training.config import TrainConfig
from rss_env.errors import InputError

QUALITY = {"rss": 0.6, "sb3-ppo-cnn": 0.2, "psl": 0.7}


def write_result(folder: Path, **values) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(values))


def submit_slow_row(folder: Path) -> None:
    """A row that asks for few scores, and takes longer than any budget of seconds here."""
    for seed in range(100, 105):
        few = {"score_queries": 1000, "seconds": 300}
        write_result(folder / f"seed{seed}", **few, miou=0.65, pixel_accuracy=0.93)


@pytest.mark.parametrize("algo", QUERIES_PER_UPDATE)
def test_queries_are_counted_as_trainings_count_them(algo):
    arguments = [*VARIANTS[algo].arguments, "--out", "nowhere"]
    config = tyro.cli(TrainConfig, args=arguments)
    scales = len(config.scales or (8, 4, 2, 1))
    if acts_at_one_scale(config.algo, config.agent):
        scales = 1
    labelled = config.algo.startswith("psl")
    expected = 0 if labelled else config.num_images * config.group_size * scales
    assert QUERIES_PER_UPDATE[algo] == expected


def test_budgets_become_updates():
    assert updates_for_queries("rss", 51_200) == 100
    assert updates_for_queries("psl", 51_200) == 100
    assert updates_for_queries("sb3-ppo-cnn", 51_200) == 800
    with pytest.raises(InputError, match="rss asks for 512 scores an update: queries is 500"):
        updates_for_queries("rss", 500)
    took = [{"updates": 10, "seconds": seconds} for seconds in (1.0, 2.0, 9.0)]
    assert updates_for_seconds(took, 30) == 150
    assert updates_for_seconds(took, 0.01) == 1


def test_an_interval_holds_the_mean():
    found = intervals({"a": [{"miou": m} for m in (0.1, 0.2, 0.6)], "b": [{"miou": 0.5}] * 3})
    mean, low, high = found["a"]
    assert mean == pytest.approx(0.3)
    assert 0.1 <= low < mean < high <= 0.6
    assert found["b"] == (0.5, 0.5, 0.5)


def train_at_once(runs, jobs):
    """In place of training: results that a table can be made of."""
    for run in runs:
        assert "--eval-every" in run.arguments
        miou = QUALITY[run.variant] + 0.01 * run.seed
        queries = QUERIES_PER_UPDATE[run.variant] * run.updates
        row = {"update": run.updates, "score_queries": queries, "miou": miou}
        row |= {"image_miou": 0.5, "pixel_accuracy": 0.9}
        write_result(
            run.folder,
            seed=run.seed,
            updates=run.updates,
            seconds=run.updates / 10,
            score_queries=queries,
            miou=miou,
            pixel_accuracy=0.9,
        )
        run.record("abc")
        (run.folder / "config.json").write_text(json.dumps({"algo": run.variant}))
        (run.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return []


def test_a_leaderboard_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "run_missing", train_at_once)
    submit_slow_row(tmp_path / "mine")
    config = LeaderboardConfig(
        algos=tuple(QUALITY),
        tuning=True,
        queries=1024,
        seconds=30,
        submissions=(tmp_path / "mine",),
        runs=tmp_path / "runs",
        out=tmp_path / "report",
    )
    compete(config)
    text = (config.out / "shapes.md").read_text()
    at_queries, at_time = text.split("## At about 30 seconds")
    names = [line.split("|")[1].strip() for line in at_queries.splitlines() if line[:2] == "| "]
    assert names == ["algorithm", "psl", "mine", "rss", "sb3-ppo-cnn", "majority", "random"]
    assert "| rss | 0.610 | 0.600 to 0.620 | 0.600 0.610 0.620 | 0.900 | 1,024 | 0 |" in at_queries
    assert "mine" not in at_time  # 300 seconds are too many
    assert "| rss | 0.610 | 0.600 to 0.620 | 0.600 0.610 0.620 | 0.900 | 153,600 | 30 |" in at_time
    lines = (config.out / "shapes.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * (3 + 3) + 5
    for name in ("shapes-board.png", "shapes-curves.png"):
        assert (config.out / name).stat().st_size > 0


def test_a_budget_that_nobody_keeps_has_no_board(tmp_path):
    submit_slow_row(tmp_path / "slow")
    config = LeaderboardConfig(
        algos=(), submissions=(tmp_path / "slow",), runs=tmp_path / "runs", out=tmp_path / "report"
    )
    compete(config)
    text = (config.out / "shapes.md").read_text()
    assert "| slow | 0.650 | 0.650 to 0.650 |" in text
    assert "seconds\n\n|" not in text
    assert (config.out / "shapes-board.png").stat().st_size > 0
    with pytest.raises(InputError, match="there is no row: give --algos or --submissions"):
        compete(LeaderboardConfig(algos=(), runs=tmp_path / "runs", out=tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_a_submission_must_be_complete_and_keep_a_budget(tmp_path):
    folder = tmp_path / "mine"
    with pytest.raises(InputError, match="mine: 0 seeds are no result; valid: at least 5"):
        add_submissions([folder], 10, 10)
    for seed in range(100, 105):
        write_result(folder / f"seed{seed}", score_queries=20, seconds=5, miou=0.5)
    with pytest.raises(InputError, match=r"seed100/result.json lacks pixel_accuracy"):
        add_submissions([folder], 10, 10)
    for seed in range(100, 105):
        write_result(
            folder / f"seed{seed}", score_queries=20, seconds=5, miou=0.5, pixel_accuracy=0.8
        )
    by_queries, by_seconds = add_submissions([folder], 10, 10)
    assert (list(by_queries), list(by_seconds)) == ([], ["mine"])
    with pytest.raises(InputError, match="more than 10 queries and more than 4 seconds"):
        add_submissions([folder], 10, 4)


def test_a_failed_run_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "run_missing", lambda runs, jobs: ["shapes rss seed 0: no"])
    with pytest.raises(InputError, match="shapes rss seed 0: no"):
        compete(LeaderboardConfig(algos=("rss",), runs=tmp_path, out=tmp_path / "report"))
    assert not (tmp_path / "report").exists()
