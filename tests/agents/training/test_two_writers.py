"""One folder, one run: second writers, foreign states and what others write meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rss_agents import export, train
from rss_agents.folder_lock import locked_folder
from rss_agents.training.config import TrainConfig
from rss_agents.training.loop import TrainingError
from rss_agents.training.objects import RunObjects, TrainingEvent
from rss_agents.training.resume import read_config
from rss_agents.training.states import RunStates
from training_runs import TINY, assert_alike, interrupted_at, start, start_and_stop

pytestmark = pytest.mark.usefixtures("one_thread")


def failed(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The last line that rss-train says when it ends so."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        train.main(list(arguments))
    assert stop.value.code == code
    return capsys.readouterr().err.splitlines()[-1]


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[None]:
    """Another thread holds the lock of a folder, as another process would."""
    held, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with locked_folder(folder):
            held.set()
            enough.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Two runs of one shape, stopped after four of six updates."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as monkeypatch:
        start_and_stop(monkeypatch, folder / "a", "--seed", "1", "--learning-rate", "0.01")
        start_and_stop(monkeypatch, folder / "b", "--seed", "2", "--weight-decay", "0.5")
    return folder


@pytest.fixture
def runs(kept, tmp_path) -> Path:
    """Copies of them: a run goes on wherever it lies."""
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_second_writer_is_refused_before_it_writes(runs, capsys):
    run = runs / "a"
    export_it = ["--checkpoint", str(run), "--program", str(run / "exports/network.pt2")]
    with held_elsewhere(run):
        before = content_of(run)
        for more in (["--resume", str(run)], [*TINY, "--out", str(run), "--overwrite"]):
            said = failed(capsys, 2, *more)
            assert f"{run} is being written to by process {os.getpid()} on " in said
        with pytest.raises(SystemExit) as stop:
            export.main(export_it)
        assert stop.value.code == 2
        assert "is being written to by process" in capsys.readouterr().err
        assert content_of(run) == before
    export.main(export_it)
    assert (run / "exports/network.pt2").exists()


def test_of_two_runs_in_one_new_folder_one_is_refused(tmp_path, monkeypatch, capsys):
    """The second has found no run there, and the first has begun meanwhile."""
    open_run, begun = train._open, []

    def open_and_wait(config: TrainConfig, objects: RunObjects) -> Any:
        run = open_run(config, objects)
        if not begun:
            begun.append(True)
            start(tmp_path / "run", "--seed", "5")
        return run

    monkeypatch.setattr(train, "_open", open_and_wait)
    said = failed(capsys, 2, *TINY, "--updates", "6", "--out", str(tmp_path / "run"))
    assert "already holds a run" in said
    seeds = [json.loads((tmp_path / "run" / f"{name}.json").read_text())["seed"]
             for name in ("config", "result")]  # fmt: skip
    assert seeds == [5, 5]
    begun.clear()
    with held_elsewhere(tmp_path / "other"):
        said = failed(capsys, 2, *TINY, "--updates", "6", "--out", str(tmp_path / "other"))
    assert "is being written to by process" in said
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("allowed", [False, True])
def test_a_state_of_another_run_is_refused(runs, capsys, allowed):
    shutil.rmtree(runs / "b/states")
    shutil.copytree(runs / "a/states", runs / "b/states")
    shutil.copy(runs / "a/metrics.jsonl", runs / "b")
    before = content_of(runs / "b")
    if allowed:  # its metrics are another run's as well
        (runs / "b/metrics.jsonl").write_bytes((runs / "a/metrics.jsonl").read_bytes()[::-1])
        said = failed(capsys, 2, "--resume", str(runs / "b"), "--allow-changes")
        assert "metrics.jsonl cannot be continued: line 1 is damaged" in said
        return
    said = failed(capsys, 2, "--resume", str(runs / "b"))
    for change in ("seed was 1, is 2", "learning_rate was 0.01, is 0.003",
                   "weight_decay was 0.001, is 0.5"):  # fmt: skip
        assert change in said
    assert "saved with other options than config.json has: one of them is of another run" in said
    after = content_of(runs / "b")
    assert {path: after[path] for path in before} == before


def test_metrics_of_another_run_are_refused(runs, capsys):
    shutil.copy(runs / "a/metrics.jsonl", runs / "b")
    said = failed(capsys, 2, "--resume", str(runs / "b"))
    assert f"{runs / 'b/metrics.jsonl'} cannot be continued: " in said
    before = RunStates(runs / "b").path(2)
    assert said.endswith(f"; go on from the state before it with --resume {before}")


def test_changes_that_were_allowed_are_allowed_from_then_on(runs, monkeypatch):
    """Also for a run that is killed before its next state is due."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rss_agents.training.loop.TrainingLoop._learn", stop)
        with pytest.raises(SystemExit):
            train.main(["--resume", str(runs / "b"), "--weight-decay", "0.25", "--allow-changes"])
    train.main(["--resume", str(runs / "b")])
    assert read_config(runs / "b").weight_decay == 0.25
    assert (runs / "b/result.json").exists()


def test_states_that_were_left_behind_are_gone(runs, kept, monkeypatch):
    """Going on from an older state, and stopped before that has caught up with the newer one."""
    run = runs / "a"
    assert RunStates(run).updates() == [2, 4]
    with interrupted_at(monkeypatch, 3):
        train.main(["--resume", str(RunStates(run).path(2))])
    assert RunStates(run).updates() == [2, 3]
    train.main(["--resume", str(run)])
    shutil.copytree(kept / "a", runs / "undisturbed")
    train.main(["--resume", str(runs / "undisturbed")])
    assert_alike(runs / "undisturbed", run)


def append(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"update": 3, "sco')


def replace_config(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "seed": 7}))


WRITERS = {"metrics.jsonl": append, "config.json": replace_config}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("at", [3, 6])
def test_a_run_beside_which_another_writes_does_not_end_well(tmp_path, name, at):
    """Where no lock keeps the other away."""

    def callback(event: TrainingEvent) -> bool:
        if event.update == at:
            WRITERS[name](event.folder)
        return False

    config = TrainConfig(
        tmp_path / "run", image_size=(16,), scales=(4, 1), num_images=2, group_size=2, updates=6,
        eval_every=2,
    )  # fmt: skip
    with pytest.raises(TrainingError, match=f"something else has changed .*{name}.*go on from"):
        train.train(config, RunObjects(callbacks=(callback,)))
    assert not (tmp_path / "run/result.json").exists()


def test_the_clock_may_jump(tmp_path, monkeypatch, runs, kept):
    """By years, back and forth; a run is what it is, and its time is that of another clock."""
    real, calls = time.time, []

    def jumping() -> float:
        calls.append(True)
        return real() + (1e9 if len(calls) % 3 else -1e9)

    shutil.copytree(kept / "a", runs / "undisturbed")
    train.main(["--resume", str(runs / "undisturbed")])
    for path in (runs / "a").rglob("*"):
        os.utime(path, (4e9, 4e9))
    monkeypatch.setattr(time, "time", jumping)
    train.main(["--resume", str(runs / "a")])
    assert calls
    result = json.loads((runs / "a/result.json").read_text())
    assert 0 < result["seconds"] < 10_000
    assert_alike(runs / "undisturbed", runs / "a")
