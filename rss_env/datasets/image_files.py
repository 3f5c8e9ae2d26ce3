"""Which files below a folder are images: the one rule of every reader, and a note of the rest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rss_env.datasets.paths import is_file, is_folder
from rss_env.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff")
# Where systems keep previews and what was deleted; they and programs use names with a dot besides.
_SYSTEM_FOLDERS = (
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")

_HIDDEN = "hidden or of the system"
_READ_ALREADY = "link(s) to a folder that is read already"
_LOCKED = "folder(s) that cannot be opened"
_NO_SUFFIX = "without a suffix"
_NO_FILE = "that lead to no file"
_NAMED = 3  # of many


@dataclass(frozen=True)
class FoundImages:
    """What a search found.

    Attributes:
        folder: Where it looked.
        role: What the folder is for, in messages.
        files: Image files by their path in the folder, without the suffix and the ending.
        left_out: Everything else that may have been meant, each with the reason.
    """

    folder: Path
    role: str
    files: dict[str, Path]
    left_out: tuple[tuple[Path, str], ...]

    def note(self, read: Collection[Path] = ()) -> str:
        """Say in a line what was left out; empty if nothing was.

        Args:
            read: Files that are read for something else.
        """
        rest = [(path, reason) for path, reason in self.left_out if path not in read]
        if not rest:
            return ""
        parts = []
        for reason, count in sorted(Counter(reason for _, reason in rest).items()):
            first = min(path for path, other in rest if other == reason)
            parts.append(f"{count} {reason} ({_below(first, self.folder)})")
        known = f"; read are {', '.join(IMAGE_SUFFIXES)}"
        other_kinds = any(reason.startswith((".", _NO_SUFFIX)) for _, reason in rest)
        return f"{self.role} folder {self.folder}: left out {', '.join(parts)}{known * other_kinds}"


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is named as systems and programs name what is their own."""
    return name.startswith(".") or name.lower() in (*_SYSTEM_FOLDERS, *_SYSTEM_FILES)


def is_image_name(name: str) -> bool:
    """Tell whether a file of this name is read as an image, or as the labels of one."""
    return not is_hidden(name) and Path(name).suffix.lower() in IMAGE_SUFFIXES


def find_images(
    folder: Path, role: str = "images", ending: str = "", other_ending: str = ""
) -> FoundImages:
    """Look for image files below a folder.

    Subfolders are looked through, and so are links to folders, each folder once: under its own
    name if it lies below, or else under that of its first link.

    Args:
        folder: Where to look.
        role: What the folder is for, in messages.
        ending: What names end in before the suffix; files with other names are not meant.
        other_ending: What names of files end in that are not meant; nothing if empty.

    Raises:
        DatasetError: If the folder is missing, holds no image, or two files share a name.
    """
    if not is_folder(folder):
        raise DatasetError(f"{role} folder {folder} does not exist")
    candidates, left_out = _walk(folder)
    files: dict[str, Path] = {}
    for path in sorted(candidates):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if not is_image_name(path.name):
            hidden_picture = is_hidden(path.name) and path.suffix.lower() in IMAGE_SUFFIXES
            if hidden_picture:
                left_out.append((path, _HIDDEN))
            elif not is_hidden(path.name):
                left_out.append((path, path.suffix.lower() or _NO_SUFFIX))
        elif not is_file(path):
            left_out.append((path, _NO_FILE))
        elif not name.endswith(ending):
            left_out.append((path, f"not named *{ending}"))
        elif other_ending and name.endswith(other_ending):
            left_out.append((path, f"named *{other_ending}"))
        else:
            name = name.removesuffix(ending)
            if name in files:
                raise DatasetError(f"{role} {files[name]} and {path} share the name {name!r}")
            files[name] = path
    found = FoundImages(folder, role, files, tuple(left_out))
    if not files:
        advice = f"; {found.note()}" if left_out else ""
        raise DatasetError(
            f"{role} folder {folder} holds no image{ending and f' named *{ending}'}; valid "
            f"suffixes: {', '.join(IMAGE_SUFFIXES)}{advice}"
        )
    return found


def unused_labels(labels: Collection[str], images: Collection[str], folder: Path) -> str:
    """Say which labels of a folder have no image, by their names; empty if none."""
    unused = sorted({*labels} - {*images})
    if not unused:
        return ""
    more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
    return (
        f"labels folder {folder}: {len(unused)} label(s) have no image: "
        f"{', '.join(unused[:_NAMED])}{more}"
    )


def files_below(folder: Path) -> list[Path]:
    """All files below a folder and its linked folders, but for those in hidden ones."""
    return _walk(folder)[0]


def _walk(top: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """All files below a folder, and the folders that were not entered, each with the reason."""
    files: list[Path] = []
    left_out: list[tuple[Path, str]] = []
    seen: set[tuple[int, int]] = set()
    waiting = [top]

    def skip(error: OSError) -> None:
        left_out.append((Path(error.filename), _LOCKED))

    while waiting:  # links wait until all that lies here has been seen under its own name
        links: list[Path] = []
        for start in waiting:
            for place, folders, names in os.walk(start, onerror=skip):
                here, status = Path(place), os.stat(place)
                if (status.st_dev, status.st_ino) in seen:
                    left_out.append((here, _READ_ALREADY))
                    folders.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                left_out += [(here / name, _HIDDEN) for name in folders if is_hidden(name)]
                folders[:] = sorted(name for name in folders if not is_hidden(name))
                links += [here / name for name in folders if (here / name).is_symlink()]
                files += [here / name for name in names]
        waiting = links
    return files, left_out


def _below(path: Path, folder: Path) -> str:
    """The path in the folder; of the folder itself, its own."""
    return str(path) if path == folder else str(path.relative_to(folder))
