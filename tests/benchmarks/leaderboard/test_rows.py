"""Rows as files, their statistics, and the page that is made of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.leaderboard.algorithm import checked_prediction, parse_settings
from benchmarks.leaderboard.page import page, profiled, write_report
from benchmarks.leaderboard.rows import Row, load_rows
from benchmarks.leaderboard.statistics import THRESHOLDS, interval, profiles
from benchmarks.leaderboard.tracks import Track
from rss_env.errors import InputError


def row(name: str, miou: float, suite: str = "shapes", seeds: int = 5) -> Row:
    mious = [miou + 0.01 * i for i in range(seeds)]
    return Row(
        name=name,
        algo=f"mine:{name}",
        settings={},
        track=vars(Track.of(suite, 1000, "image")),
        seeds=list(range(100, 100 + seeds)),
        miou=mious,
        normalised=mious,
        pixel_accuracy=[0.9] * seeds,
        score_queries=[996] * seeds,
        seconds=[12.0] * seeds,
        interval=list(interval(mious)),
        threads=1,
        machine="x86_64, 2 cores",
        versions={"torch": "2"},
        commit="abc",
        weights=["0" * 64] * seeds,
        tuning=False,
    )


def test_tracks_have_names():
    assert Track.of("shapes", 64_000, "image").name == "shapes-image-64000"
    assert Track.of("camvid", 1_000, "cells").name == "camvid-cells-1000"
    assert Track.of("camvid", 1_000, "cells").level == "PixelReward"
    assert Track.of("shapes", 10, "image", "PixelReward").name == "shapes-PixelReward-image-10"


def test_tracks_of_several_steps_tell_of_each_or_at_the_end():
    at_the_end = Track.of("shapes", 10, "image", "Progressive")
    assert at_the_end.arguments == {"show_scores": False}
    assert Track.of("shapes", 10, "scales", "Refine").arguments == {}
    with pytest.raises(InputError, match="unknown told of Refine 'ranking'; valid: image, scales"):
        Track.of("shapes", 10, "ranking", "Refine")


def test_rows_are_read_as_they_were_written(tmp_path):
    first, second = row("a", 0.3), row("b", 0.5)
    for each in (first, second):
        each.write(tmp_path)
    assert load_rows(tmp_path) == [first, second]
    assert not load_rows(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [100, 101, 102, 103, 9]}, "seeds 9 are no evidence"),
        ({"miou": [0.9]}, "its lists are not of one length"),
        ({"name": "other"}, "it is the row other of shapes-image-1000"),
        ({"won": True}, "unexpected keyword argument 'won'"),
        ({"track": {"suite": "shapes"}}, "missing 3 required"),
    ],
)
def test_files_that_are_no_rows_are_refused(tmp_path, change, message):
    path = row("a", 0.3).write(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"a\.json.*{message}"):
        load_rows(tmp_path)
    path.write_text("no")
    with pytest.raises(InputError, match=r"a\.json is no row: .*needed: name, algo"):
        load_rows(tmp_path)


def test_an_interval_holds_the_mean():
    low, high = interval([0.1, 0.2, 0.6])
    assert 0.1 <= low < 0.3 < high <= 0.6
    assert interval([0.5] * 3) == (0.5, 0.5)
    assert interval([0.1, 0.2, 0.6]) == (low, high)  # of the same draws each time


def test_a_profile_says_how_many_runs_are_above():
    shares, bands = profiles({"a": np.array([[0.2, 0.6], [0.4, 0.8]])})
    at = {round(float(t), 3): i for i, t in enumerate(THRESHOLDS)}
    assert [shares["a"][at[t]] for t in (0.0, 0.3, 0.5, 0.9)] == [1.0, 0.75, 0.5, 0.0]
    assert ((bands["a"][0] <= shares["a"]) & (shares["a"] <= bands["a"][1])).all()


def test_profiles_are_of_algorithms_in_all_suites():
    rows = [row("a", 0.3), row("a", 0.4, "camvid", 8), row("b", 0.5)]
    found = profiled(rows)
    (family,) = found
    assert family == "ImageReward-image-1000"
    assert list(found[family]) == ["a"]
    assert found[family]["a"].shape == (5, 2)


def test_the_page_has_a_table_a_track_best_first(tmp_path):
    rows = [row("a", 0.3), row("b", 0.5), row("a", 0.4, "camvid"), row("b", 0.2, "camvid")]
    write_report(tmp_path, rows)
    camvid, shapes = page(rows).split("## ")[1:]
    assert shapes.index("| b | 0.520 |") < shapes.index("| a | 0.320 |")
    assert camvid.index("| a |") < camvid.index("| b |")
    assert "0.300 0.310 0.320 0.330 0.340 | 0.320 | 0.900 | 996 | 12 | 100 101 102" in shapes
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "camvid-image-1000.png",
        "shapes-image-1000.png",
        "profiles-ImageReward-image-1000.png",
    }
    assert "no result" in page([replace(rows[0], tuning=True)])


def test_settings_are_read_as_json_or_as_words():
    found = parse_settings(["rate=1e-3", "scales=[8,1]", "kind=plain", "flag=true"])
    assert found == {"rate": 1e-3, "scales": [8, 1], "kind": "plain", "flag": True}
    for wrong in (["rate"], ["=3"], ["a=1", "a=2"]):
        with pytest.raises(InputError, match="settings must be name=value, each once"):
            parse_settings(wrong)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(2, 4, 4), "whole numbers of shape .2, 4, 4., got torch.float32"),
        (
            np.zeros((2, 4), int),
            "whole numbers of shape .2, 4, 4., got torch.int64 of shape .2, 4.",
        ),
        (np.full((2, 4, 4), 6), "classes 0..5, got 6 to 6"),
        (np.full((2, 4, 4), -1), "classes 0..5, got -1 to -1"),
    ],
)
def test_answers_that_are_no_class_maps_are_refused(answer, message):
    images = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    with pytest.raises(InputError, match=message):
        checked_prediction(answer, images, 6)
    assert checked_prediction(np.full((2, 4, 4), 5), images, 6).dtype == torch.uint8
