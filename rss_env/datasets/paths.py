"""Paths as they are given: what no file can be called is a file that is not there."""

from __future__ import annotations

import os
from pathlib import Path

from rss_env.errors import DatasetError


def is_file(path: Path) -> bool:
    """Tell whether there is a regular file; a path that the system cannot take leads to none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, no permission, a NUL in it
        return False


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder; a path that the system cannot take leads to none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` and `~user` replaced by home folders.

    Raises:
        DatasetError: If there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DatasetError(f"path {os.fspath(path)!r:.300} cannot be used: {error}") from None
