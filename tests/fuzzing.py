"""Many inputs at once, and what must hold of hostile ones: refused or answered, nothing else."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Tally, effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rss_env.errors import InputError

GIBIBYTE = 2**30
_SECONDS = 20  # of computing, for one input; what is refused takes milliseconds
_LONGEST_MESSAGE = 20_000  # an error says what is wrong: it does not repeat a whole file


def fuzz(
    tally: Tally, what: str, examples: int, *strategies: st.SearchStrategy[Any], soak: int = 30
) -> Callable[[Any], None]:
    """Decorator: try a function on so many examples, at once, and count them.

    Args:
        tally: Where they are counted.
        what: Name of the count.
        examples: Number of examples.
        *strategies: One for each argument of the function.
        soak: How many times as many there are in a soak run.
    """

    def run(function: Any) -> None:
        @functools.wraps(function)
        def counted(**drawn: Any) -> None:
            tally(what)
            with time_limit():
                function(**drawn)

        settings(
            max_examples=effort(examples, soak * examples),
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
        )(given(*strategies)(counted))()

    return run


@contextmanager
def time_limit(seconds: int = _SECONDS) -> Iterator[None]:
    """Fail if the process computes for longer; one that waits is for pytest's own time limit."""

    def stop(*_: Any) -> None:
        pytest.fail(f"still computing after {seconds} s")  # no `except Exception` catches this

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def memory_limit(more: int = 6 * GIBIBYTE) -> Iterator[None]:
    """Let the process ask for so many bytes more: what would take terabytes fails at once."""
    resource, statistics = pytest.importorskip("resource"), Path("/proc/self/statm")
    if not statistics.exists():
        pytest.skip("memory cannot be bounded here")
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(statistics.read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refused(function: Callable[[], Any]) -> str | None:
    """The message of the `InputError` that a function raises; None if it raises nothing."""
    try:
        function()
    except InputError as error:
        message = str(error)
    else:
        return None
    assert 10 < len(message) < _LONGEST_MESSAGE
    return message


_STARTS = ("os.exec", "os.fork", "os.posix_spawn", "os.system", "subprocess.Popen")
_REACHES = ("socket.connect", "socket.getaddrinfo")
_CHANGES = {"os.mkdir": 0, "os.remove": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1}
_watchers: list[Callable[[str, tuple[Any, ...]], None]] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for watcher in _watchers:
        watcher(event, arguments)


@contextmanager
def harmless(*writable: Path) -> Iterator[None]:
    """Fail if files are written outside some folders, programs started, or pickles followed."""
    allowed = [os.path.realpath(folder) for folder in writable]
    done: list[str] = []

    def is_allowed(path: Any) -> bool:
        if isinstance(path, int):
            return True
        place = os.path.realpath(os.fsdecode(path))
        known = any(place == folder or place.startswith(folder + os.sep) for folder in allowed)
        return known or "__pycache__" in place or place == os.devnull

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            if writes and not is_allowed(path):
                done.append(f"opens {path!r} to write, mode {mode}")
        elif event in _CHANGES and not is_allowed(arguments[_CHANGES[event]]):
            done.append(f"{event} {arguments[_CHANGES[event]]!r}")
        elif event in (*_STARTS, *_REACHES, "pickle.find_class"):
            done.append(f"{event} {arguments!r:.200}")

    if not _hooked:
        sys.addaudithook(_hook)  # there is no way to take one off again
        _hooked.append(True)
    _watchers.append(watch)
    try:
        yield
    finally:
        _watchers.remove(watch)
    assert not done, done
