"""What the live page reads of a run's folder."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rss_agents.live.run_reader import Progress, RunReader, find_runs
from rss_env.errors import InputError
from watched_runs import train_briefly


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "inner" / "run"
    train_briefly(out)
    return out


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy to be changed."""
    out = tmp_path / "run"
    out.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            (out / path.name).write_bytes(path.read_bytes())
    return out


def test_a_complete_run_is_read(trained):
    reader, result = RunReader(trained, "mine"), json.loads((trained / "result.json").read_text())
    assert [row["update"] for row in reader.rows] == [0, 1, 2, 3, 4]
    assert reader.progress == Progress("complete", 4, 4, reader.progress.seconds)  # type: ignore[union-attr]
    assert reader.progress is not None
    assert reader.progress.seconds_left == 0
    assert reader.progress.updates_per_second == pytest.approx(4 / reader.progress.seconds)
    assert reader.validation is not None
    assert (reader.validation.update, reader.validation.miou) == (4, result["miou"])
    occurring = [value for value in reader.validation.class_iou.values() if value is not None]
    assert sum(occurring) / len(occurring) == pytest.approx(result["miou"])
    overlay = reader.overlay()
    assert overlay is not None
    assert overlay[1] == (trained / "overlay.png").read_bytes()
    assert reader.overlay(overlay[0]) is None  # it is known
    assert reader.problem == ""
    assert reader.seconds_without_news() is None
    assert not reader.refresh()


def test_what_is_new_is_found(run):
    text = (run / "metrics.jsonl").read_text()
    first, rest = text.split("\n", 1)
    (run / "metrics.jsonl").write_text(first + "\n" + rest[:20])
    reader = RunReader(run, "mine")
    assert len(reader.rows) == 1  # a line that is being written is not read yet
    (run / "metrics.jsonl").write_text(text)
    assert reader.refresh()
    assert len(reader.rows) == 5
    (run / "metrics.jsonl").write_text(first + "\n")  # the run has gone on from an earlier state
    assert reader.refresh()
    assert len(reader.rows) == 1


def test_a_run_without_news_is_told(run):
    progress = {"state": "running", "update": 2, "updates": 4, "seconds": 1.0}
    (run / "progress.json").write_text(json.dumps(progress))
    reader = RunReader(run, "mine")
    assert reader.seconds_without_news() is None
    assert reader.progress is not None
    assert reader.progress.seconds_left == pytest.approx(1.0)
    long_ago = time.time() - 500
    os.utime(run / "progress.json", (long_ago, long_ago))
    assert reader.seconds_without_news() == pytest.approx(500, abs=30)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", "nonsense\n"),
        ("metrics.jsonl", '{"update": 1}\n'),
        ("metrics.jsonl", '{"update": "<script>", "score_queries": 1}\n'),
        ("progress.json", "{"),
        ("progress.json", '{"state": "flying", "update": 1, "updates": 2, "seconds": 1}'),
        ("validation.json", '{"update": 1}'),
    ],
)
def test_damaged_files_are_named_and_the_others_read(run, name, content):
    (run / name).write_text(content)
    reader = RunReader(run, "mine")
    assert name in reader.problem
    assert (len(reader.rows) == 5) == (name != "metrics.jsonl")
    assert (reader.progress is not None) == (name != "progress.json")
    assert (reader.validation is not None) == (name != "validation.json")
    assert not reader.refresh()  # it is as it was


def test_options_that_are_none_are_an_error(run):
    (run / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json does not hold options"):
        RunReader(run, "mine")


def test_a_damaged_line_is_named_each_time_and_no_row_is_read_twice(run):
    first, *rest = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(first + "\n")
    reader = RunReader(run, "mine")
    (run / "metrics.jsonl").write_text("\n".join([first, rest[0], "nonsense"]) + "\n")
    for is_news in (True, False):
        assert reader.refresh() == is_news
        assert "metrics.jsonl, line 3: " in reader.problem
        assert [row["update"] for row in reader.rows] == [0, 1]
    (run / "metrics.jsonl").write_text("\n".join([first, *rest]) + "\n")
    assert reader.refresh()
    assert reader.problem == ""
    assert [row["update"] for row in reader.rows] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["metrics.jsonl", "progress.json", "validation.json"])
@pytest.mark.parametrize("kind", ["pipe", "link", "device", "folder"])
def test_only_files_of_its_own_are_read(name, kind, run, tmp_path):
    (run / name).rename(tmp_path / name)
    if kind == "pipe":
        os.mkfifo(run / name)
    elif kind == "folder":
        (run / name).mkdir()
    else:
        (run / name).symlink_to("/dev/zero" if kind == "device" else tmp_path / name)
    reader = RunReader(run, "mine")
    assert name in reader.problem
    assert ("it is a link" if kind in ("link", "device") else "no regular file") in reader.problem
    assert bool(reader.rows) != (name == "metrics.jsonl")


def test_a_picture_is_a_picture_of_the_run(run, tmp_path):
    picture, reader = run / "overlay.png", RunReader(run, "mine")
    picture.rename(tmp_path / "elsewhere.png")
    picture.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match=r"overlay.png: it is a link"):
        reader.overlay()
    picture.unlink()
    picture.write_text("root:x:0:0")
    with pytest.raises(InputError, match=r"overlay.png is no PNG"):
        reader.overlay()
    picture.unlink()
    assert reader.overlay() is None


def test_a_file_of_endless_lines_is_not_read_whole(run):
    with (run / "metrics.jsonl").open("ab") as file:
        file.truncate(2**40)  # a terabyte of zeros, which takes no place on the disk
    reader = RunReader(run, "mine")
    reader.refresh()
    assert "metrics.jsonl" in reader.problem
    assert "a line of more than" in reader.problem
    assert len(reader.rows) == 5


def test_a_run_that_is_removed_is_told_and_what_was_read_stays(run):
    reader = RunReader(run, "mine")
    shutil.rmtree(run)
    assert reader.refresh()
    assert reader.problem == f"{run} is not there any more"
    assert len(reader.rows) == 5
    assert (reader.overlay(), reader.told_at()) == (None, (False, 0.0))
    assert reader.seconds_without_news() is None


def test_runs_are_found_in_folders(trained):
    above = trained.parents[1]
    assert find_runs([trained]) == {"run": trained}
    assert find_runs([above]) == {"inner/run": trained}
    assert set(find_runs([above, trained.parent])) == {f"{above.name}/inner/run", "inner/run"}
    assert find_runs([above / "nowhere"]) == {}


@pytest.mark.parametrize("place", [".", "a", "b/deep"])
def test_a_foreign_configuration_hides_no_run(place, run, tmp_path):
    runs = tmp_path / "runs"
    for name in ("b", "c"):
        shutil.copytree(run, runs / name)
    shutil.copytree(run, runs / "a/inner")
    (runs / place).mkdir(exist_ok=True)
    (runs / place / "config.json").write_text('{"architectures": ["Bert"]}')
    assert set(find_runs([runs])) == {"a/inner", "b", "c"}
    (runs / "c/config.json").write_text("{")  # of a run nevertheless
    assert set(find_runs([runs])) == {"a/inner", "b", "c"}
    (runs / "c/config.json").unlink()
    (runs / "c/config.json").symlink_to(runs / "b/config.json")
    assert set(find_runs([runs])) == {"a/inner", "b"}


def test_folders_that_cannot_be_read_are_passed_over(run, tmp_path, monkeypatch):
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    (tmp_path / "locked").mkdir()
    assert set(find_runs([tmp_path])) == {"run"}
