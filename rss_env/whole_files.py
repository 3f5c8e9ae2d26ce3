"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

LONGEST_NAME = 255  # bytes, on most file systems


def _temporary_name(name: str) -> str:
    """A hidden name for what is not whole yet, no longer than systems take."""
    room = LONGEST_NAME - len("..tmp")
    if len(os.fsencode(name)) <= room:
        return f".{name}.tmp"
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{digest}.tmp"


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its name, make sure that it is on the disk, and move it into place.

    It gets the rights that new files have (the umask's), whatever writes it.

    Args:
        path: The file; what was there stays until the new one is whole.
        write: Writes it at the path it is given.

    Raises:
        OSError: If it cannot be written; what was written of it is gone.
    """
    temporary = path.with_name(_temporary_name(path.name))
    temporary.unlink(missing_ok=True)  # a link there would be followed
    try:
        temporary.touch(exist_ok=False)
        rights = temporary.stat().st_mode
        write(temporary)
        if temporary.stat().st_mode != rights:  # of a file that only its owner may read
            temporary.chmod(rights)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        # Where a disk is full the system does not name the file. (What has no number has a text.)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
