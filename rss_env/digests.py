"""Digests of content, and the state of a file by which a digest of it is known again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rss_env.regular_files import open_regular

_PART = 2**24  # bytes that one thread digests at a time
_COARSEST_CLOCK = 2 * 10**9  # nanoseconds, of file systems

States = npt.NDArray[np.int64]


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's content, 32 bytes.

    Raises:
        OSError: If it cannot be read, or is no regular file.
    """
    found = hashlib.sha256()
    with open_regular(path, follow_links=True) as file:
        while part := file.read(_PART):
            found.update(part)
    return found.digest()


def array_digest(array: npt.NDArray[Any]) -> str:
    """A digest of an array's type, shape and values, computed on all cores."""
    values = np.ascontiguousarray(array)
    data = values.reshape(-1).view(np.uint8).data
    parts = [data[start : start + _PART] for start in range(0, len(data), _PART)]
    found = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    if len(parts) < 2:
        digests = [hashlib.sha256(part).digest() for part in parts]
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = list(pool.map(lambda part: hashlib.sha256(part).digest(), parts))
    for digest in digests:
        found.update(digest)
    return found.hexdigest()


def file_states(paths: Sequence[Path]) -> States:
    """Inode, size, and times of the content and of the inode in nanoseconds: (M, 4) int64.

    A program can set the third of a file it writes to, but not the last.

    Raises:
        OSError: If a file is not there.
    """
    found = (os.stat(path) for path in paths)
    rows = [(s.st_ino & (2**63 - 1), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in found]
    return np.array(rows, np.int64).reshape(-1, 4)


def are_settled(states: States, seen: int) -> bool:
    """Tell whether a change after the files were seen must show in their states.

    A file that is written to twice within a tick of its system's clock shows one time.

    Args:
        states: (M, 4) of the files.
        seen: When, in nanoseconds.
    """
    return len(states) == 0 or int(states[:, 3].max()) < seen - _COARSEST_CLOCK
