"""Many inputs at once, and what must hold of hostile ones: refused or answered, nothing else."""

from __future__ import annotations

import functools
import os
import signal
import struct
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


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A valid file with bytes changed, cut out, put in or cut off; most often near its start."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        near = draw(st.sampled_from([48, 200, len(content)]))
        place = draw(st.integers(0, max(0, min(near, len(content)) - 1)))
        kind = draw(st.sampled_from(["change", "change", "number", "cut", "put", "end"]))
        if kind == "change" and content:
            content[place] = draw(st.sampled_from([0, 1, 2, 8, 16, 127, 128, 254, 255]))
        elif kind == "number":
            size = draw(st.sampled_from(["<I", ">I", "<H", ">H"]))
            bits = struct.calcsize(size) * 8
            number = draw(st.sampled_from([0, 1, 2**bits - 1, 2 ** (bits - 1), 10_000]))
            content[place : place + bits // 8] = struct.pack(size, number)
        elif kind == "cut":
            del content[place : place + draw(st.integers(1, 20))]
        elif kind == "put":
            content[place:place] = draw(st.binary(max_size=20))
        elif kind == "end":
            del content[draw(st.integers(0, len(content))) :]
    return bytes(content)


class Planted:
    """Makes a file wherever it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


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

    def is_allowed(path: Any, *, followed: bool) -> bool:
        if isinstance(path, int):
            return True
        parent, name = os.path.split(os.fsdecode(path))
        place = os.path.join(os.path.realpath(parent), name)
        if followed:
            place = os.path.realpath(place)
        known = any(place == folder or place.startswith(folder + os.sep) for folder in allowed)
        return known or "__pycache__" in place or place == os.devnull

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            if writes and not is_allowed(path, followed=True):
                done.append(f"opens {path!r} to write, mode {mode}")
        elif event in _CHANGES:
            if not is_allowed(arguments[_CHANGES[event]], followed=False):
                done.append(f"{event} {arguments!r:.300}")
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
