"""Machine code of functions, kept on the disk wherever there is a place for it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba

from rss_env.cache_folders import cache_place


def compiled(**options: Any) -> Callable[[FunctionType], Any]:
    """Compile a function by numba (as a decorator), once for all processes if that can be.

    Code is kept as long as no source file in the function's folder changes, nor a kernel of ours.
    numba refuses a function whose code it has no place for; here it is compiled by each process.

    Args:
        **options: Of `numba.njit`.
    """

    def compile_function(function: FunctionType) -> Any:
        beside = Path(function.__code__.co_filename).parent
        if cache_place() is None and not os.access(beside, os.W_OK):
            return numba.njit(**options)(function)
        try:
            kept = numba.njit(cache=True, **options)(function)
            _key_by_content(kept, beside)
            if kept.stats.cache_path is not None:
                _remove_left_behind(Path(kept.stats.cache_path))
            return kept
        except RuntimeError as error:  # numba has no exception of its own for it
            if "no locator available" not in str(error):
                raise
            return numba.njit(**options)(function)

    return compile_function


def _key_by_content(kept: Any, folder: Path) -> None:
    """Let machine code count as old when a file beside it changes.

    numba looks at the size and time of the function's own file alone; what it calls lies in others.
    """
    index: Any = getattr(getattr(kept, "_cache", None), "_cache_file", None)
    if hasattr(index, "_source_stamp"):
        index._source_stamp = _content_of(folder) + _content_of(_KERNELS)


@functools.cache
def _remove_left_behind(folder: Path) -> None:
    """Remove what processes that were killed have left of files that they were writing."""
    with contextlib.suppress(OSError):  # others remove the same, or only read the folder
        for file in folder.glob("*.nb[ic].tmp.*"):
            if time.time() - file.stat().st_mtime > _SECONDS_TO_WRITE:
                file.unlink()


_SECONDS_TO_WRITE = 3600.0  # of which a process needs a few thousandths, unless it is stopped
_KERNELS = Path(__file__).parent / "kernels"  # from where others take helpers


@functools.cache
def _content_of(folder: Path) -> str:
    """A digest of the source files of a folder, the same wherever it lies; empty without any."""
    found = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        found.update(file.name.encode())
        found.update(file.read_bytes())
    return found.hexdigest()
