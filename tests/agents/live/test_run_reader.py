"""What the live page reads of a run's folder."""

from __future__ import annotations

import json
import os
import time
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
    assert overlay[1].read_bytes().startswith(b"\x89PNG")
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
        ("config.json", "{}"),
    ],
)
def test_damaged_files_are_named(run, name, content):
    (run / name).write_text(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        RunReader(run, "mine")


def test_a_damaged_line_is_named_each_time_and_no_row_is_read_twice(run):
    first, *rest = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text(first + "\n")
    reader = RunReader(run, "mine")
    (run / "metrics.jsonl").write_text("\n".join([first, rest[0], "nonsense"]) + "\n")
    for _ in range(2):
        with pytest.raises(InputError, match="line 3"):
            reader.refresh()
        assert [row["update"] for row in reader.rows] == [0]
    (run / "metrics.jsonl").write_text("\n".join([first, *rest]) + "\n")
    reader.refresh()
    assert [row["update"] for row in reader.rows] == [0, 1, 2, 3, 4]


def test_runs_are_found_in_folders(trained):
    above = trained.parents[1]
    assert find_runs([trained]) == {"run": trained}
    assert find_runs([above]) == {"inner/run": trained}
    assert set(find_runs([above, trained.parent])) == {f"{above.name}/inner/run", "inner/run"}
    with pytest.raises(InputError, match="there is no folder"):
        find_runs([above / "nowhere"])
