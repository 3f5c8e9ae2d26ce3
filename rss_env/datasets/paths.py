"""Paths as they are given: what no file can be called is a file that is not there."""

from __future__ import annotations

import os
import unicodedata
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
        DatasetError: If there is no such home, or it is no path at all.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, TypeError) as error:
        raise DatasetError(f"path {str(path)!r:.300} cannot be used: {error}") from None


class Spelling:
    """Finds files whose names are written with other code points of the same letters.

    An accented letter is one code point (NFC) or a letter and an accent (NFD). macOS writes names
    in the second form and editors write lists in the first, while other systems tell them apart.
    """

    def __init__(self):
        self._entries: dict[Path, dict[str, str]] = {}  # of folders that were looked at

    def find(self, path: Path) -> Path:
        """The path as the file system spells it; as it was given if there is nothing like it."""
        if str(path).isascii():
            return path
        found = Path(path.anchor)
        for part in path.parts[path.anchor != "" :]:
            if is_file(found / part) or is_folder(found / part):
                found /= part
            elif (spelt := self._names(found).get(composed(part))) is not None:
                found /= spelt
            else:
                return path
        return found

    def _names(self, folder: Path) -> dict[str, str]:
        """The names in a folder by their composed form."""
        if folder not in self._entries:
            try:
                names = os.listdir(folder)
            except (OSError, ValueError):
                names = []
            self._entries[folder] = {composed(name): name for name in sorted(names)}
        return self._entries[folder]


def composed(name: str) -> str:
    """The name with letters and their accents as one code point each (NFC)."""
    return unicodedata.normalize("NFC", name)
