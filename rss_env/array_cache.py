"""Arrays that took long to compute: kept in files, and memory-mapped by every process that asks.

The files are only a cache and may be deleted at any time. They lie in `$RSS_CACHE_DIR`, by default
`rss-env` in the user's cache folder, or a temporary one where there is none; set but empty, the
variable switches the cache off.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from rss_env.cache_folders import cache_place
from rss_env.errors import InputError, warn_of
from rss_env.whole_files import replace_file

Array = npt.NDArray[Any]
_SILENT_SECONDS = 10.0  # to wait for another process before it is said


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


def cached_array(
    name: str,
    place: Hashable,
    content: Hashable,
    compute: Callable[[], Array],
    *,
    shape: tuple[int, ...] | None = None,
    dtype: npt.DTypeLike | None = None,
) -> Array:
    """Return what `compute` returns, or what it returned last time.

    Of processes that ask at the same time one computes, under a lock, and the others wait. A file
    appears under its name only when it is complete, and takes the place of the one before. A file
    that cannot be used is computed again; a folder that cannot be written to costs a warning, and
    the array is then in this process's own memory.

    Args:
        name: Beginning of the file's name, for people.
        place: What the array is of; of each place only the latest content is kept.
        content: What it depends on besides; both are told apart by their `repr`.
        compute: Gives the array.
        shape: Of the array, so that a file with another is not taken for it; None for any.
        dtype: The same for its type.

    Returns:
        The array; writable, but what is written reaches neither the file nor other processes.

    Raises:
        InputError: If the name is not one for a file.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise InputError(f"a cached array is named by letters, digits and dashes, got {name!r}")
    folder = cache_folder()
    if folder is None:
        return compute()
    stem = f"{name}-{_digest(place)}"
    path = folder / f"{stem}-{_digest(content)}.npy"
    expected = (shape, None if dtype is None else np.dtype(dtype))
    found = _open(path, *expected)
    if found is not None:
        return found
    computed: Array | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{stem}.lock", name):
            found = _open(path, *expected)
            if found is not None:  # another process was first
                return found
            computed = compute()
            replace_file(path, partial(_save, array=computed))
            for older in folder.glob(f"{stem}-*.npy"):
                if older != path:
                    older.unlink(missing_ok=True)
    except (OSError, NotImplementedError) as error:  # the latter where files cannot be locked
        warnings.warn(
            f"nothing is kept in the cache {folder}: {error}; set RSS_CACHE_DIR to a folder that "
            "can be written to, or to nothing for no cache",
            stacklevel=2,
        )
    if computed is None:
        return compute()
    found = _open(path, *expected)  # so that the memory is shared from the first process on
    return computed if found is None else found


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    """Hold a lock; say so when another process holds it for long, which may be stopped or hang."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_SILENT_SECONDS)
    except Timeout:
        warn_of(f"waiting for another process, which is making {name} for the cache ({path})")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _digest(value: Hashable) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def _open(path: Path, shape: tuple[int, ...] | None, dtype: np.dtype[Any] | None) -> Array | None:
    """The array of a file; None if there is no file, or none that is whole and as expected."""
    try:
        # (np.load would open archives as well.)
        found = np.lib.format.open_memmap(path, mode="c")
        if shape not in (None, found.shape) or dtype not in (None, found.dtype):
            raise ValueError(f"it holds {found.shape} {found.dtype} in place of {shape} {dtype}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # broken headers make the parser raise almost anything
        reason = str(error)[:300] or type(error).__name__
        warnings.warn(f"cache file {path} is damaged and computed again: {reason}", stacklevel=3)
        return None
    return np.asarray(found)  # of the same memory: each view of a `memmap` would run Python code


def _save(path: Path, array: Array) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
