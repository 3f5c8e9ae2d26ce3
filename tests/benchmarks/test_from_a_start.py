"""What scores add to a start: which images have labels, what is run, what is reported."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import tyro
from conftest import REAL_DATA

from benchmarks.from_a_start import StartConfig, StartRun, _line_of, measure
from benchmarks.learning.suites import SUITES, Suite
from rss_env.datasets import open_dataset
from rss_env.errors import InputError


@pytest.mark.parametrize(
    ("dataset", "fixture"), [("Cityscapes", "cityscapes_root"), ("VOC", "voc_root")]
)
def test_lists_name_images_as_their_data_set_does(dataset, fixture, request, tmp_path, monkeypatch):
    root = request.getfixturevalue(fixture)
    monkeypatch.setitem(SUITES, "small", Suite(dataset, root.name))
    run = StartRun("small", "miou", 3, 1, tmp_path, root.parent, labelled=1, queries=64)
    chosen = open_dataset(dataset, root=root, split=run.labels())
    training = open_dataset(dataset, root=root)
    assert len(chosen) == 1
    assert chosen.name_of(0) in {training.name_of(i) for i in range(len(training))}
    arguments = run.arguments
    assert arguments[arguments.index("--exclude") + 1] == run.labels()
    assert run.start.arguments[run.start.arguments.index("--split") + 1] == run.labels()
    control = replace(run, variant="labels").arguments
    assert control[control.index("--split") + 1] == run.labels()
    assert control[control.index("--start-from") + 1] == str(run.start.folder)
    assert "--scorer" not in control


def test_more_labels_than_images_are_refused(cityscapes_root, tmp_path, monkeypatch):
    monkeypatch.setitem(SUITES, "small", Suite("Cityscapes", cityscapes_root.name))
    run = StartRun("small", "miou", 3, 1, tmp_path, cityscapes_root.parent, labelled=999)
    with pytest.raises(InputError, match=r"labelled must be in 1\.\..*999"):
        run.labels()


def test_arguments_of_every_run_add_up():
    asked = ["--out", "a", "--extra=--group-size", "--extra=4"]
    assert tyro.cli(StartConfig, args=asked).extra == ("--group-size", "4")


def test_other_data_sets_are_refused():
    with pytest.raises(InputError, match=r"Folder.*valid: of Cityscapes, VOC"):
        _line_of("Folder", Path("a.png"))


@pytest.mark.skipif(not (REAL_DATA / "camvid-cityscapes").is_dir(), reason="needs CamVid")
def test_a_start_goes_on_and_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("RSS_DATA_ROOT", str(REAL_DATA))
    measure(
        StartConfig(
            scorers=("miou", "preference", "labels"),
            queries=(128,),
            seeds=(0,),
            tuning=True,
            labelled=4,
            start_updates=1,
            updates=2,
            jobs=2,
            runs=tmp_path / "runs",
            out=tmp_path / "out",
        )
    )
    text = (tmp_path / "out" / "camvid-from-a-start.md").read_text()
    assert "A tuning, no result" in text
    assert "| miou | 128 | " in text
    assert "| preference | 128 | " in text
    assert "| labels | 0 | " in text
    with (tmp_path / "out" / "camvid-from-a-start.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["algo"] for row in rows} == {"rss-of-miou", "rss-of-preference", "psl"}
    assert rows[0]["update"] == "0"
    assert max(int(row["score_queries"]) for row in rows) == 128
