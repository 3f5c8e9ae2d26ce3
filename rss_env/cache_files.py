"""The files of the cache: where they lie, what is noted beside each, and which of them may go.

An array `<name>-<place>-<content>.npy` has a note `.json` beside it: the digest of the array, and
the state of the file when it was last found to have it. Whoever writes holds the lock of the place,
one of a few files that stay.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from rss_env.cache_folders import cache_place
from rss_env.digests import are_settled, array_digest, file_states
from rss_env.errors import InputError
from rss_env.regular_files import open_regular
from rss_env.whole_files import replace_file

_LOCKS = 16  # that places share
_DEFAULT_LIMIT = 64.0  # GiB
_LONGEST_NOTE = 2**16  # bytes
# Only such files are ours: the folder may hold others.
_OURS = re.compile(r"\.?(?P<place>(?P<name>[\w-]+)-[0-9a-f]{16})-[0-9a-f]{16}\.(npy|json)(\.tmp)?")
_OLD_LOCK = re.compile(r"(?P<place>[\w-]+-[0-9a-f]{16})\.lock")


def cache_folder() -> Path | None:
    """The folder of the cache, whether it exists or not; None if there is to be no cache.

    Raises:
        InputError: If `$RSS_CACHE_DIR` is in a home that there is not.
    """
    chosen = os.environ.get("RSS_CACHE_DIR")
    if chosen is None:
        return cache_place()
    try:
        return Path(chosen).expanduser() if chosen else None
    except RuntimeError as error:
        raise InputError(f"RSS_CACHE_DIR {chosen!r:.300} cannot be used: {error}") from None


def cache_limit() -> float:
    """Bytes that arrays in the cache may take together: `$RSS_CACHE_GIB`, by default 64 GiB.

    Raises:
        InputError: If the variable is no number of 0 or more.
    """
    chosen = os.environ.get("RSS_CACHE_GIB") or str(_DEFAULT_LIMIT)
    try:
        limit = float(chosen)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise InputError(f"RSS_CACHE_GIB must be a number of 0 or more, got {chosen!r:.300}")
    return limit * 2**30


@dataclass(frozen=True)
class Note:
    """What is known of a file of the cache.

    Attributes:
        digest: Of the array, by `array_digest`.
        state: Of the file, by `file_states`, when it was found to have the digest.
        seen: When that was, in nanoseconds.
        about: What the array is of, for people.
    """

    digest: str
    state: tuple[int, ...]
    seen: int
    about: str

    @classmethod
    def of(cls, path: Path) -> Note:
        """Read the note of a file.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged.
        """
        try:
            with open_regular(_note_of(path)) as file:
                raw = json.loads(file.read(_LONGEST_NOTE))
            return cls(str(raw["digest"]), tuple(raw["state"]), int(raw["seen"]), str(raw["about"]))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError(f"the note beside it is damaged ({type(error).__name__})") from None

    def write(self, path: Path) -> None:
        """Put it beside the file.

        Raises:
            OSError: If it cannot be written.
        """
        content = json.dumps(asdict(self)).encode()
        replace_file(_note_of(path), lambda temporary: temporary.write_bytes(content))


def note_array(path: Path, digest: str, about: str) -> None:
    """Write the note of a file that has the digest; to be called under its lock.

    Raises:
        OSError: If it cannot be written; the file is then removed.
    """
    seen = time.time_ns()
    try:
        Note(digest, tuple(file_states([path])[0].tolist()), seen, about).write(path)
    except OSError:
        path.unlink(missing_ok=True)  # on a full disk it would take room and not be used
        raise


def check_array(path: Path, values: npt.NDArray[Any], *, again: bool = False) -> str:
    """Check that a file holds what was written, and note that it is used.

    Its content is read only if its state is not the one in which it was found sound.

    Args:
        path: The file.
        values: The array in it.
        again: Whether it is read in any case.

    Returns:
        The digest of the array.

    Raises:
        FileNotFoundError: If it has no note: what wrote it was killed.
        ValueError: If it is damaged.
    """
    note = Note.of(path)
    states = file_states([path])
    is_known = tuple(states[0].tolist()) == note.state and are_settled(states, note.seen)
    if again or not is_known:
        seen = time.time_ns()
        if array_digest(values) != note.digest:
            raise ValueError("its content does not have its digest")
        if are_settled(states, seen):
            _settle(path, note, states, seen)
    with contextlib.suppress(OSError):  # of a cache that is only read
        os.utime(_note_of(path))
    return note.digest


def _settle(path: Path, note: Note, states: npt.NDArray[np.int64], seen: int) -> None:
    """Note that a file is sound in the state it is in, if nobody else is at it."""
    with contextlib.suppress(OSError, NotImplementedError), lock_of(path).acquire(timeout=0):
        Note(note.digest, tuple(states[0].tolist()), seen, note.about).write(path)


def lock_of(path: Path) -> FileLock:
    """The lock under which files of the same place are written; others may share it."""
    match = _OURS.fullmatch(path.name) or _OLD_LOCK.fullmatch(path.name)
    assert match is not None
    return FileLock(path.parent / f"place-{zlib.crc32(match['place'].encode()) % _LOCKS}.lock")


@dataclass(frozen=True)
class CacheFile:
    """An array in the cache.

    Attributes:
        path: Its file.
        name: What it was named by.
        about: What it is of; empty if that is not known.
        size: Bytes.
        used: When it was last used, in seconds since 1970.
    """

    path: Path
    name: str
    about: str
    size: int
    used: float


def list_cache(folder: Path) -> list[CacheFile]:
    """The arrays in a folder, those used last first."""
    found = []
    for path, match in _ours(folder):
        if path.suffix != ".npy":
            continue
        with contextlib.suppress(OSError):  # gone since
            size, used = path.stat().st_size, path.stat().st_mtime
            try:
                about, used = Note.of(path).about, _note_of(path).stat().st_mtime
            except (OSError, ValueError):
                about = ""
            found.append(CacheFile(path, match["name"], about, size, used))
    return sorted(found, key=lambda file: (-file.used, file.path))


def remove_array(path: Path) -> None:
    """Remove a file and its note; whoever has mapped it keeps the array.

    Raises:
        OSError: If it cannot be removed.
    """
    path.unlink(missing_ok=True)  # before its note: what has none is not used
    _note_of(path).unlink(missing_ok=True)


def make_room(folder: Path, keep: Path) -> None:
    """Remove arrays that were not used for longest until the rest is within the limit.

    Args:
        folder: Of the cache.
        keep: A file that stays.

    Raises:
        InputError: If the limit is none.
        OSError: If one cannot be removed.
    """
    files, limit = list_cache(folder), cache_limit()
    total = sum(file.size for file in files)
    for file in reversed(files):
        if total <= limit:
            return
        if file.path != keep:
            remove_array(file.path)
            total -= file.size


def sweep(folder: Path, held: FileLock | None = None) -> None:
    """Remove what killed processes and earlier versions have left.

    Args:
        folder: Of the cache.
        held: The lock that the caller holds, if any.

    Raises:
        OSError: If a file cannot be removed.
    """
    for path in _left_behind(folder):
        lock = lock_of(path)
        if held is not None and lock.lock_file == held.lock_file:
            path.unlink(missing_ok=True)
            continue
        with contextlib.suppress(Timeout), lock.acquire(timeout=0):
            if path in _left_behind(folder):  # unless it has been finished since
                path.unlink(missing_ok=True)


def _left_behind(folder: Path) -> list[Path]:
    """Temporary files, arrays without a note, notes without an array, locks of earlier versions."""
    files = [path for path, _ in _ours(folder)]
    names = {path.name for path in files}
    partners = {".npy": ".json", ".json": ".npy"}
    alone = [p for p in files if p.with_suffix(partners.get(p.suffix, ".tmp")).name not in names]
    temporary = [path for path in files if path.suffix == ".tmp"]
    locks = [path for path in folder.glob("*.lock") if _OLD_LOCK.fullmatch(path.name)]
    return [*temporary, *alone, *locks]


def _ours(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """The files of the cache in a folder, and what their names say."""
    matches = ((path, _OURS.fullmatch(path.name)) for path in sorted(folder.glob("*")))
    return [(path, match) for path, match in matches if match is not None]


def clear_cache(folder: Path) -> tuple[int, int]:
    """Remove every array, and what was left behind.

    Returns:
        How many arrays there were, and their bytes.

    Raises:
        OSError: If a file cannot be removed.
    """
    files = list_cache(folder)
    for file in files:
        remove_array(file.path)
    sweep(folder)
    return len(files), sum(file.size for file in files)


def _note_of(path: Path) -> Path:
    return path.with_suffix(".json")
