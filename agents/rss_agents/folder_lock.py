"""Folders that one process at a time writes to: a lock that dies with its process."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from rss_agents.files import write_json
from rss_agents.outputs import writing
from rss_env.datasets.paths import is_file
from rss_env.errors import InputError, warn_of
from rss_env.printable import printable
from rss_env.regular_files import open_regular

LOCK_NAME, HOLDER_NAME = ".writer.lock", ".writer.json"
_LONGEST = 2**14  # bytes of what says who holds a lock
_SECONDS_TO_TELL = 0.5  # from when a lock is taken until its holder has said who it is


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing.

    The system lets go of it when the process ends, however that happens. The file of the lock
    stays, so that all who want it mean the same one; a folder that has nothing else is removed
    again if it was made here. Where files cannot be locked a warning says so, and nothing is held.
    A thread that holds it already may ask again.

    Raises:
        InputError: If another holds it, who is named; or the folder cannot be written to.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    lock = _lock_of(folder)
    if lock.is_locked:
        yield
        return
    with writing(Path(lock.lock_file)):
        _take(lock, folder)
    try:
        with writing(folder / HOLDER_NAME):
            holder = {"process": os.getpid(), "machine": platform.node(), "command": _command()}
            write_json(folder / HOLDER_NAME, holder)
        yield
    finally:
        with suppress(OSError):  # the folder is gone, or what was made holds something else by now
            (folder / HOLDER_NAME).unlink(missing_ok=True)
            if made and [path.name for path in folder.iterdir()] == [LOCK_NAME]:
                (folder / LOCK_NAME).unlink()
                for place in made:
                    place.rmdir()
        lock.release()


def check_unlocked(folder: Path) -> None:
    """Check that nobody else holds the lock of a folder; nothing is written.

    Raises:
        InputError: If somebody does.
    """
    lock = _lock_of(folder)
    if is_file(Path(lock.lock_file)) and not lock.is_locked:
        with writing(Path(lock.lock_file)):
            _take(lock, folder)
        lock.release()


def _lock_of(folder: Path) -> BaseFileLock:
    """The lock of a folder, the same for all who ask in a thread."""
    return FileLock(folder.resolve() / LOCK_NAME, is_singleton=True)


def _take(lock: BaseFileLock, folder: Path) -> None:
    """Take a lock at once, or warn where files cannot be locked.

    Raises:
        InputError: If somebody else holds it, or a link is in its place.
        OSError: If the folder cannot be written to.
    """
    if Path(lock.lock_file).is_symlink():
        raise InputError(f"{lock.lock_file} is a link, which is not followed: remove it")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder} is being written to by {_holder_of(folder)}: wait until it has ended, or "
            "end it, or choose another folder"
        ) from None
    except NotImplementedError as error:
        warn_of(f"nothing keeps a second process from writing to {folder}: {error}")


def _command() -> str:
    """The command line of this process, as a shell reads it."""
    program, *arguments = sys.argv or [""]
    return shlex.join([Path(program).name, *arguments])


def _holder_of(folder: Path) -> str:
    """Who holds the lock of a folder, as far as it has said so."""
    path, until = folder / HOLDER_NAME, time.monotonic() + _SECONDS_TO_TELL
    while not is_file(path) and time.monotonic() < until:
        time.sleep(0.02)
    try:
        with open_regular(path) as file:
            told = json.loads(file.read(_LONGEST))
        number, said = int(told["process"]), f"{told['machine']:.100} ({told['command']:.300})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
    return f"process {number} on {printable(said)}"
