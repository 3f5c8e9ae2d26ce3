"""The comparison of ways to learn: what it runs, what it skips, what it reports."""

from __future__ import annotations

import csv
import json

import pytest

from benchmarks.learning.__main__ import LearningConfig, compare
from benchmarks.learning.evidence import commit
from rss_env.errors import InputError


def test_a_comparison_is_reported_and_not_run_twice(tmp_path):
    config = LearningConfig(
        algos=("psl", "rss"),
        seeds=(0,),
        tuning=True,
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
    assert "A tuning, no result" in text
    assert f"commit {commit()}" in text
    settings = json.loads((config.out / "shapes-settings.json").read_text())
    assert settings["rss"]["group_size"] == 2
    assert settings["psl"]["algo"] == "psl"
    result = json.loads((config.runs / "shapes/1/rss/seed0/result.json").read_text())
    row = next(line for line in text.splitlines() if line.startswith("| rss | "))
    shown = [cell.strip() for cell in row.split("|")[2:-1]]
    miou = f"{result['miou']:.3f}"
    assert shown[:3] == [miou, miou, miou]  # by seed, the mean, the worst
    assert shown[5:8] == [
        f"{result['image_miou']:.3f}",
        f"{result['pixel_accuracy']:.3f}",
        str(result["classes_counted"]),
    ]
    assert "| background | " in text
    assert "| psl |" in text
    assert "| oracle, scale 1 | | 1.000 | | " in text
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
        tuning=True,
        updates=1,
        runs=tmp_path / "runs",
        out=tmp_path / "report",
        extra=("--num-images", "2", "--group-size", "1"),
    )
    with pytest.raises(InputError, match=r"shapes rss seed 0: .*group_size must be at least 2"):
        compare(config)
    assert len(list(config.runs.rglob("result.json"))) == 1
    assert not config.out.exists()
