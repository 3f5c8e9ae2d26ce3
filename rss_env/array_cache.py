"""Arrays that took long to compute: kept in files, and memory-mapped by every process that asks.

The files are only a cache and may be deleted at any time. They lie in `$RSS_CACHE_DIR`, by default
`rss-env` in the user's cache folder, or a temporary one where there is none; set but empty, the
variable switches the cache off. `$RSS_CACHE_GIB` bounds them.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from rss_env.cache_files import (
    cache_folder,
    cache_limit,
    check_array,
    lock_of,
    make_room,
    note_array,
    remove_array,
    sweep,
)
from rss_env.digests import array_digest
from rss_env.errors import InputError, warn_of
from rss_env.whole_files import replace_file

Array = npt.NDArray[Any]
_SILENT_SECONDS = 10.0  # to wait for another process before it is said


@dataclass(frozen=True)
class KeptArray:
    """An array, and where it is kept.

    Attributes:
        values: Of the array; what is written to them reaches neither the file nor other processes.
        path: Its file; None if it is kept nowhere.
        digest: That the file had when it was written or last read; None without a file.
    """

    values: Array
    path: Path | None = None
    digest: str | None = None

    def digest_again(self) -> str:
        """The digest of the values as they are in memory now.

        Raises:
            InputError: If it is not that of the file.
        """
        digest = array_digest(self.values)
        if self.digest not in (None, digest):
            raise InputError(
                f"cache file {self.path} is damaged: its content does not have its digest; delete "
                "it, or have it made again with rss-data check --rebuild"
            )
        return digest


def keep_array(
    name: str,
    place: Hashable,
    content: Hashable,
    compute: Callable[[], Array],
    *,
    shape: tuple[int, ...] | None = None,
    dtype: npt.DTypeLike | None = None,
    about: str = "",
) -> KeptArray:
    """Find what `compute` returned last time, or call it and keep what it returns.

    Of processes that ask at the same time one computes, under a lock, and the others wait. A file
    appears under its name only when it is complete, and takes the place of the one before. A file
    that is damaged is computed again, with a note; a folder that cannot be written to costs a
    warning, and the array is then in this process's own memory. Arrays that were not used for
    longest make room for others.

    Args:
        name: Beginning of the file's name, for people.
        place: What the array is of; of each place only the latest content is kept.
        content: What it depends on besides; both are told apart by their `repr`.
        compute: Gives the array; it must not ask for another.
        shape: Of the array, so that a file with another is not taken for it; None for any.
        dtype: The same for its type.
        about: What the array is of, for people.

    Raises:
        InputError: If the name is not one for a file, or the cache's limit is none.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"a cached array is named by letters, digits and dashes, got {name!r}")
    folder = cache_folder()
    if folder is None:
        return KeptArray(compute())
    stem = place_stem(name, place)
    path = folder / f"{stem}-{content_key(content)}.npy"
    expected = (shape, None if dtype is None else np.dtype(dtype))
    found = _open(path, *expected)
    if found is not None:
        return found
    limit = cache_limit()
    computed: Array | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path, name) as lock:
            found = _open(path, *expected)
            if found is not None:  # another process was first
                return found
            sweep(folder, held=lock)
            computed = compute()
            if computed.nbytes > limit:
                warn_of(
                    f"{name} is not kept in the cache {folder}: it takes {computed.nbytes} bytes, "
                    f"and RSS_CACHE_GIB allows {limit:.0f}"
                )
                return KeptArray(computed)
            digest = array_digest(computed)
            replace_file(path, partial(_save, array=computed))
            note_array(path, digest, about)
            for older in folder.glob(f"{stem}-*.npy"):
                if older != path:
                    remove_array(older)
            make_room(folder, keep=path)
    except (OSError, NotImplementedError) as error:  # the latter where files cannot be locked
        warnings.warn(
            f"nothing is kept in the cache {folder}: {error}; set RSS_CACHE_DIR to a folder that "
            "can be written to, or to nothing for no cache",
            stacklevel=2,
        )
        return KeptArray(compute() if computed is None else computed)
    # The file's memory, so that it is shared from the first process on.
    return _open(path, *expected, digest) or KeptArray(computed)


def discard(name: str, place: Hashable) -> None:
    """Remove what is kept of a place; `name` and `place` as for `keep_array`.

    Raises:
        InputError: If it cannot be removed.
    """
    folder = cache_folder()
    if folder is None:
        return
    for path in folder.glob(f"{place_stem(name, place)}-*.npy"):
        try:
            remove_array(path)
        except OSError as error:
            raise InputError(f"cache file {path} cannot be removed: {error.strerror}") from None


def place_stem(name: str, place: Hashable) -> str:
    """What the names of the files of a place begin with; `name` and `place` as for `keep_array`."""
    return f"{name}-{content_key(place)}"


def content_key(content: Hashable) -> str:
    """What the name of the file of a content ends in; `content` as for `keep_array`."""
    return hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()


@contextmanager
def _locked(path: Path, name: str) -> Iterator[FileLock]:
    """Hold a lock; say so when another process holds it for long, which may be stopped or hang."""
    lock = lock_of(path)
    try:
        lock.acquire(timeout=_SILENT_SECONDS)
    except Timeout:
        warn_of(
            f"waiting for another process, which is making {name} for the cache ({lock.lock_file})"
        )
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def _open(
    path: Path,
    shape: tuple[int, ...] | None,
    dtype: np.dtype[Any] | None,
    digest: str | None = None,
) -> KeptArray | None:
    """The array of a file; None if there is no file, or none that is whole and as expected.

    Args:
        path: The file.
        shape: That it should have, if any.
        dtype: The same.
        digest: Of a file that was written just now; None to check it.
    """
    try:
        # (np.load would open archives as well.)
        found = np.lib.format.open_memmap(path, mode="c")
        if shape not in (None, found.shape) or dtype not in (None, found.dtype):
            raise ValueError(f"it holds {found.shape} {found.dtype} in place of {shape} {dtype}")
        values = np.asarray(found)  # each view of a `memmap` would run Python code
        return KeptArray(values, path, digest or check_array(path, values))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # broken headers make the parser raise almost anything
        reason = str(error)[:300] or type(error).__name__
        warn_of(f"cache file {path} is damaged and computed again: {reason}")
        return None


def _save(path: Path, array: Array) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
