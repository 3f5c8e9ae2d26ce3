"""Files that are opened only if they are regular: no links out of a folder, no pipes, no devices.

Folders may come from anybody. A pipe in place of a file would be waited for, and what is written
through a link lands somewhere else.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

# Flags that not every system has.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_BYTES = getattr(os, "O_BINARY", 0)


def open_regular(path: Path, *, follow_links: bool = False) -> BinaryIO:
    """Open a file to be read.

    Args:
        path: The file.
        follow_links: Whether it may be a link to one.

    Raises:
        OSError: If it cannot be opened, is a link and may not be, or is no regular file.
    """
    return _open(path, os.O_RDONLY, "rb", follow_links=follow_links)


def open_to_append(path: Path) -> BinaryIO:
    """Open a file, made if need be, to be read and added to at its end; never through a link.

    Raises:
        OSError: If it cannot be opened, is a link, or is no regular file.
    """
    return _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, "ab+", follow_links=False)


def _open(path: Path, flags: int, mode: str, *, follow_links: bool) -> BinaryIO:
    """Look at what is there, which opens nothing, open it, and look at what was opened."""
    with suppress(FileNotFoundError):
        _check(path.stat() if follow_links else path.lstat(), path)
    flags |= _AT_ONCE | _BYTES | (0 if follow_links else _NO_LINK)
    handle = os.open(path, flags, 0o666)
    try:
        _check(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return cast(BinaryIO, os.fdopen(handle, mode))


def _check(status: os.stat_result, path: Path) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "it is a link, which is not followed here", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
