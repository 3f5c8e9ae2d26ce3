"""One process at a time writes to a folder, and the others are told which."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rss_agents import folder_lock
from rss_agents.folder_lock import HOLDER_NAME, LOCK_NAME, check_unlocked, locked_folder
from rss_env.errors import DatasetWarning, InputError

HOLD = """
import sys
from pathlib import Path
from rss_agents.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere() -> Iterator[Callable[[Callable[..., Any], Path], Any]]:
    """Calls a function in another thread, which is as strange to a lock as another process."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda function, path: thread.submit(function, path).result()


@pytest.fixture
def holder(tmp_path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def take(folder: Path) -> None:
    with locked_folder(folder):
        pass


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path, holder):
    run = tmp_path / "run"
    for refused in (take, check_unlocked):
        with pytest.raises(InputError, match="is being written to by") as error:
            refused(run)
        assert f"process {holder.pid} on {platform.node()} (-c {run})" in str(error.value)
    holder.kill()
    holder.wait()
    check_unlocked(run)
    with locked_folder(run):
        told = json.loads((run / HOLDER_NAME).read_text())
        assert told["process"] == os.getpid()
    assert not (run / HOLDER_NAME).exists()


def test_who_holds_a_lock_may_ask_again(tmp_path, elsewhere):
    with locked_folder(tmp_path):
        with locked_folder(tmp_path):
            check_unlocked(tmp_path)
        with pytest.raises(InputError, match=f"process {os.getpid()} "):
            elsewhere(check_unlocked, tmp_path)
    elsewhere(check_unlocked, tmp_path)


def test_a_folder_that_came_to_nothing_is_removed(tmp_path):
    with pytest.raises(RuntimeError), locked_folder(tmp_path / "runs/new"):
        raise RuntimeError
    assert not (tmp_path / "runs").exists()
    with locked_folder(tmp_path / "runs/new"):
        (tmp_path / "runs/new/file").write_text("mine")
    assert sorted(path.name for path in (tmp_path / "runs/new").iterdir()) == [LOCK_NAME, "file"]


def test_a_link_in_place_of_the_lock_is_refused(tmp_path):
    (tmp_path / "elsewhere").touch()
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    for ask in (check_unlocked, take):
        with pytest.raises(InputError, match="is a link, which is not followed"):
            ask(tmp_path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "claim",
    [pipe, Path.touch, Path.mkdir, lambda path: path.write_text('{"process": "x"}'),
     lambda path: path.write_text('{"process": 1, "machine": 2, "command": []}')],
)  # fmt: skip
def test_what_says_who_holds_a_lock_may_be_anything(tmp_path, elsewhere, claim, monkeypatch):
    monkeypatch.setattr(folder_lock, "_SECONDS_TO_TELL", 0.0)
    with locked_folder(tmp_path):
        (tmp_path / HOLDER_NAME).unlink()
        claim(tmp_path / HOLDER_NAME)
        with pytest.raises(InputError, match="is being written to by another process: wait"):
            elsewhere(check_unlocked, tmp_path)


def test_what_a_holder_says_reaches_no_terminal_as_it_is(tmp_path, elsewhere):
    with locked_folder(tmp_path):
        claim = {"process": 7, "machine": "a\x1b[2J", "command": "rss-train\n--out x"}
        (tmp_path / HOLDER_NAME).write_text(json.dumps(claim))
        with pytest.raises(InputError) as error:
            elsewhere(check_unlocked, tmp_path)
    assert r"process 7 on a\x1b[2J (rss-train\n--out x)" in str(error.value)


def test_a_file_system_without_locks_costs_a_warning(tmp_path, monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(folder_lock.FileLock, "acquire", fail)
    message = "nothing keeps a second process"
    with pytest.warns(DatasetWarning, match=message), locked_folder(tmp_path / "run"):
        (tmp_path / "run/file").touch()
    assert (tmp_path / "run/file").exists()


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write .*file"), locked_folder(tmp_path / "file/x"):
        pass
