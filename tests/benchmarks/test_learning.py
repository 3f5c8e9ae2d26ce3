"""The comparison of ways to learn: what it runs, what it skips, what it reports."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.learning.__main__ import LearningConfig, compare
from benchmarks.learning.bootstrap import paired_ratio_interval
from benchmarks.learning.runs import Run
from benchmarks.learning.suites import GROUPS, VARIANTS, expand
from benchmarks.learning.untrained import untrained_rows
from rss_agents.command_line import DataConfig
from rss_env.errors import InputError
from rss_env.scenes import load_scenes


def test_groups_are_expanded_once_and_in_order():
    assert expand(("rss", "headline")) == ["rss", "psl", "rss-pixel"]
    assert set(expand(tuple(GROUPS))) == set(VARIANTS)
    with pytest.raises(InputError, match="rss-pixle"):
        expand(("rss-pixle",))


def run(folder: Path, updates: int = 5, extra: tuple[str, ...] = ()) -> Run:
    return Run("shapes", "psl", 3, updates, folder, None, extra)


def test_a_run_is_done_only_with_its_own_arguments(tmp_path):
    asked = run(tmp_path)
    asked.folder.mkdir(parents=True)
    assert not asked.is_done
    (asked.folder / "result.json").write_text("{}")
    assert not asked.is_done  # of whatever arguments that was
    (asked.folder / "arguments.json").write_text(json.dumps(asked.arguments))
    assert asked.is_done
    assert not run(tmp_path, extra=("--learning-rate", "0.1")).is_done
    assert not run(tmp_path, updates=6).is_done


def counts(images: int, share: float) -> np.ndarray:
    """A method that gets a share of every class right, the rest being the other class."""
    labelled = np.random.default_rng(0).integers(100, 1000, (images, 2))
    right = (labelled * share).astype(np.int64)
    predicted = right + (labelled - right)[:, ::-1]
    return np.stack([right, predicted, labelled])


def test_the_interval_of_a_ratio_is_paired():
    """Both are measured on the same images: where one is a copy of the other, all is certain."""
    good, bad = counts(20, 0.9), counts(20, 0.5)
    assert paired_ratio_interval([good], [good]) == (1.0, 1.0)
    low, high = paired_ratio_interval([good, good], [bad, good])
    assert 1.0 < low < high < 2.0
    few, many = (paired_ratio_interval([counts(n, 0.9)], [counts(n, 0.5)]) for n in (4, 400))
    assert few[1] - few[0] > many[1] - many[0]


def test_untrained_rows():
    training, validation = (
        load_scenes(DataConfig().open(split), (32, 32)) for split in (None, "val")
    )
    rows = untrained_rows(training, validation, (8, 4, 2, 1))
    assert rows["oracle, scale 1"].miou == 1.0
    oracles = [rows[f"oracle, scale {scale}"].miou for scale in (1, 2, 4, 8)]
    assert oracles == sorted(oracles, reverse=True)
    assert rows["random"].miou < rows["majority"].miou < oracles[-1]


def test_a_comparison_is_reported_and_not_run_twice(tmp_path):
    config = LearningConfig(
        algos=("psl", "rss"),
        seeds=(0,),
        updates=1,
        jobs=2,
        runs=tmp_path / "runs",
        out=tmp_path / "report",
        extra=("--num-images", "2", "--group-size", "2"),
    )
    compare(config)
    with (config.out / "shapes.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["algo"], line["update"]) for line in lines] == [("psl", "1"), ("rss", "1")]
    assert [int(line["score_queries"]) for line in lines] == [0, 2 * 2 * 4]
    text = (config.out / "shapes.md").read_text()
    assert "| psl |" in text
    assert "| oracle, scale 1 | | 1.000 |" in text
    assert "paired bootstrap" in text
    for name in ("shapes-curves.png", "shapes-predictions.png"):
        assert (config.out / name).stat().st_size > 0
    results = sorted(config.runs.rglob("result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    compare(config)
    assert [path.stat().st_mtime_ns for path in results] == before


def test_a_failed_run_is_named_and_the_others_are_kept(tmp_path):
    config = LearningConfig(
        algos=("psl", "rss"),
        seeds=(0,),
        updates=1,
        runs=tmp_path / "runs",
        out=tmp_path / "report",
        extra=("--num-images", "2", "--group-size", "1"),
    )
    with pytest.raises(InputError, match=r"shapes rss seed 0: .*group_size must be at least 2"):
        compare(config)
    assert len(list(config.runs.rglob("result.json"))) == 1
    assert not config.out.exists()
