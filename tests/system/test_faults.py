"""What a run survives: kills at any moment, a full disk, no memory, numbers that are none."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tally, effort
from safetensors.torch import load_file

from rss_agents import files, train
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.training.logging import MetricsLog
from rss_agents.training.states import RunStates
from training_runs import TINY, assert_alike, start

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["rss_agents.train", "rss_agents.training.loop", "training_runs"])
RUN = [*TINY, "--updates", "6", "--eval-every", "2", "--save-every", "1"]

pytestmark = pytest.mark.usefixtures("one_thread")


def _train(arguments: list[str], cache: Path, die_at: int | None) -> None:
    """Train in a process of its own, which kills itself at so many file operations."""
    torch.set_num_threads(1)
    os.environ["RSS_CACHE_DIR"] = str(cache)
    operations = 0
    originals = {name: getattr(os, name) for name in ("replace", "fsync")}

    def counted(name: str) -> Any:
        def operate(*arguments: Any) -> Any:
            nonlocal operations
            operations += 1
            if operations == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return originals[name](*arguments)

        return operate

    for name in originals:
        setattr(os, name, counted(name))
    train.main(arguments)


def run_process(
    arguments: list[str], cache: Path, *, die_at: int | None = None, seconds: float | None = None
) -> int | None:
    """Its exit code; killed after so many seconds, or at a file operation."""
    process = PROCESSES.Process(target=_train, args=(arguments, cache, die_at))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def go_on(out: Path, begin: list[str], cache: Path, **fault: Any) -> int | None:
    """Resume a run if there is something to resume, and start it again if there is not."""
    known = RunStates(out).updates()
    arguments = ["--resume", str(out)] if known else [*begin, "--overwrite"]
    return run_process(arguments, cache, **fault)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, folder_lists: list[str]) -> Path:
    """A run that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole") / "run"
    first = ["--out", str(out.parent / "first")]  # which also starts what starts the processes
    assert run_process([*RUN, *folder_lists, *first], out.parent / "cache") == 0
    began = time.monotonic()
    assert run_process([*RUN, *folder_lists, "--out", str(out)], out.parent / "cache2") == 0
    (out.parent / "seconds").write_text(str(time.monotonic() - began))
    return out


@pytest.fixture(scope="module")
def folder_lists(
    tmp_path_factory: pytest.TempPathFactory, folder_data: dict[str, str]
) -> list[str]:
    """The arguments of a data set of files, which is kept in the cache."""
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_text("photo 0\nphoto 1\nphoto 2\nphoto 3\n")
    data = [f"--{name}={folder_data[name]}" for name in ("images", "labels", "classes")]
    return ["--env", "RSS/Folder-ImageReward-v0", *data, f"--split={path}", f"--val-split={path}"]


def test_killed_at_random_moments(tmp_path, whole, folder_lists, tally: Tally):
    """Each time it goes on, with whatever the moment has left of states, metrics and the cache."""
    draw = random.Random(0)
    seconds = float((whole.parent / "seconds").read_text())
    wanted, kills, runs = effort(3, 30), 0, 0
    while kills < wanted:
        out, cache = tmp_path / f"run{runs}", tmp_path / f"cache{runs}"
        begin = [*RUN, *folder_lists, "--out", str(out)]
        while not (out / "result.json").exists():
            moment = draw.uniform(0.3, 1.0) * seconds if kills < wanted else None
            began = time.monotonic()
            killed = go_on(out, begin, cache, seconds=moment) == -signal.SIGKILL
            kills += killed
            if not killed:  # the machine may be faster by now, and nothing would be killed
                seconds = min(seconds, time.monotonic() - began)
        assert_alike(whole, out)
        runs += 1
    tally("kills at random moments survived", kills)


def test_killed_at_file_operations(tmp_path, whole, folder_lists, tally: Tally):
    """Before files are on the disk, before and after they get their name."""
    moments, kills = effort(2, 40), 0
    for number in range(moments):
        out, cache = tmp_path / f"run{number}", tmp_path / f"cache{number}"
        begin = [*RUN, *folder_lists, "--out", str(out)]
        die_at = 1 + number if moments > 10 else 4 + 9 * number
        kills += go_on(out, begin, cache, die_at=die_at) == -signal.SIGKILL
        while not (out / "result.json").exists():
            assert go_on(out, begin, cache) == 0
        assert_alike(whole, out)
        assert not list(out.rglob("*.tmp"))
        shutil.rmtree(out)
    assert kills >= 0.5 * moments
    tally("kills at file operations survived", kills)


def fail_at(monkeypatch: pytest.MonkeyPatch, update: int, act: Any) -> None:
    """Do something when the learner is asked for its loss of an update, from 1."""
    loss, calls = RSSLearner.loss, 0

    def loss_with_fault(self: RSSLearner, progress: float = 0.0) -> Any:
        nonlocal calls
        calls += 1
        if calls == update:
            act(self)
        return loss(self, progress)

    monkeypatch.setattr(RSSLearner, "loss", loss_with_fault)


def failed(capsys: pytest.CaptureFixture[str], out: Path, *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        start(out, *arguments)
    assert stop.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("rss-train: error: ")
    return error


def assert_goes_on(monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    """The run ends as an undisturbed one does."""
    monkeypatch.undo()
    train.main(["--resume", str(out)])
    start(out.parent / "whole")
    assert_alike(out.parent / "whole", out)


def test_a_full_disk(tmp_path, monkeypatch, capsys, tally: Tally):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    fail_at(monkeypatch, 3, fill)
    try:
        error = failed(capsys, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{tmp_path / 'run'} cannot be written" in error
    assert f"go on from update 2 with --resume {tmp_path / 'run'}" in error
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert_goes_on(monkeypatch, tmp_path / "run")
    tally("other faults survived")


def test_no_memory(tmp_path, monkeypatch, capsys, tally: Tally):
    fail_at(monkeypatch, 4, lambda _: torch.empty(2**50))
    error = failed(capsys, tmp_path / "run")
    assert "no memory is left" in error
    assert "smaller --num-images" in error
    assert f"go on from update 2 with --resume {tmp_path / 'run'}" in error
    assert_goes_on(monkeypatch, tmp_path / "run")
    tally("other faults survived")


@torch.no_grad()
def spoil(learner: RSSLearner) -> None:
    """Make a weight infinite."""
    next(learner.network.parameters()).view(-1)[3] = torch.inf


def test_numbers_that_are_none(tmp_path, monkeypatch, capsys, tally: Tally):
    fail_at(monkeypatch, 4, spoil)
    error = failed(capsys, tmp_path / "run")
    assert "update 4: loss nan" in error
    assert "go on from update 2 with" in error
    left = load_file(tmp_path / "run/not-finite.safetensors")
    assert str(left["batch.index"].tolist()) in error
    assert left["batch.images"].shape == (2, 16, 16, 3)
    assert left["batch.maps"].shape == (2, 2, 272)
    assert any(torch.isinf(value).any() for name, value in left.items() if "network" in name)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [row["update"] for row in rows] == [0, 1, 2, 3]
    assert_goes_on(monkeypatch, tmp_path / "run")
    tally("other faults survived")


def no_number(images, action_maps):
    """A scorer that breaks at once."""
    return torch.full(action_maps.shape[:2], torch.nan)


def test_scores_that_are_none(tmp_path, capsys, tally: Tally):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        start(tmp_path / "run", "--scorer", "test_faults:no_number")
    assert stop.value.code in (1, 2)
    error = capsys.readouterr().err
    assert "nan" in error.lower()
    assert "Traceback" not in error
    tally("other faults survived")


def test_gradients_are_clipped_and_reported(tmp_path):
    start(tmp_path / "free")
    start(tmp_path / "clipped", "--clip-gradient", "1e-3")
    for name in ("free", "clipped"):
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]
        assert len(rows) > 1
        assert all(row["gradient_norm"] > 1e-3 for row in rows if row["update"])
    weights = [load_file(tmp_path / n / "model.safetensors") for n in ("free", "clipped")]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_without_the_folder_of_tensorboard(tmp_path, monkeypatch, tally: Tally):
    def remove(_: Any) -> None:
        shutil.rmtree(tmp_path / "run/tensorboard")

    fail_at(monkeypatch, 3, remove)
    start(tmp_path / "run")
    assert (tmp_path / "run/result.json").exists()
    log = MetricsLog(tmp_path / "run")
    monkeypatch.setattr(log._board, "add_scalar", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    with pytest.warns(UserWarning, match="no more events for TensorBoard: OSError: gone"):
        log.add(1, 0, {"score": 0.5})
    log.add(2, 0, {"score": 0.6})
    log.close()
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 2
    tally("other faults survived")


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    files.write_json(path, {"a": 1})

    def fail(*_: Any) -> None:
        raise OSError("no space")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="no space"):
                files.write_json(path, {"a": 2})
            with pytest.raises(OSError, match="no space"):
                files.write_tensors(path, {"x": torch.ones(2)}, {})
        assert json.loads(path.read_text()) == {"a": 1}
        assert [file.name for file in tmp_path.iterdir()] == ["file.json"]
    with pytest.raises(OSError, match="No such file"):
        files.write_tensors(tmp_path / "none/x", {"x": torch.ones(2)}, {})
