"""Machine code of functions, kept on the disk wherever there is a place for it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from rss_env.cache_folders import cache_place

_DIGEST = 32  # bytes of SHA-256


def compiled(**options: Any) -> Callable[[FunctionType], Any]:
    """Compile a function by numba (as a decorator), once for all processes if that can be.

    Code is kept as long as no source file in the function's folder changes, nor a kernel of ours.
    numba refuses a function whose code it has no place for; here it is compiled by each process, as
    it is where what was kept is damaged, or nothing more can be written.

    Args:
        **options: Of `numba.njit`.
    """

    def compile_function(function: FunctionType) -> Any:
        beside = Path(function.__code__.co_filename).parent
        kept: Any = numba.njit(**options)(function)
        if cache_place() is None and not os.access(beside, os.W_OK):
            return kept
        try:
            kept._cache = _KeptCode(function, _content_of(beside) + _content_of(_KERNELS))
            _remove_left_behind(Path(kept._cache.cache_path))
        except RuntimeError as error:  # numba has no exception of its own for it
            if "no locator available" not in str(error):
                raise
        return kept

    return compile_function


class _KeptFiles(IndexDataCacheFile):
    """Files of machine code, each with a digest at its end."""

    def _dump(self, obj: Any) -> bytes:
        content = super()._dump(obj)
        return content + hashlib.sha256(content).digest()  # behind what pickle reads

    def _load_data(self, name: str) -> Any:
        """What a file holds.

        Raises:
            ValueError: If it is damaged: machine code is not to be run then.
        """
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
            raise ValueError(f"{self._data_path(name)} does not have its digest")
        return super()._load_data(name)


class _KeptCode(FunctionCache):
    """numba's cache for the code of a function, whose faults cost time alone."""

    def __init__(self, function: FunctionType, content: str):
        """Find a place for the code.

        Args:
            function: Whose code is kept.
            content: Of all source files that matter. numba looks at the size and time of the
                function's own file alone; what it calls lies in others.

        Raises:
            RuntimeError: If there is none.
        """
        super().__init__(function)
        impl: Any = self._impl
        self._cache_file = _KeptFiles(self._cache_path, impl.filename_base, content)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for a signature; None if there is none that can be used."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # of whatever pickle makes of a torn file
            self._forget()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for a signature, if that can be."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(self._cache_path, error.strerror or str(error))

    def _forget(self) -> None:
        """Remove the index: what it names is written again."""
        try:
            Path(self._cache_file._index_path).unlink(missing_ok=True)
        except OSError as error:
            self.disable()
            _warn_once(self._cache_path, error.strerror or str(error))


@functools.cache
def _warn_once(folder: str, reason: str) -> None:
    warnings.warn(
        f"compiled code cannot be kept in {folder}: {reason}; every process compiles anew",
        stacklevel=2,
    )


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
