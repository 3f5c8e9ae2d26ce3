"""Places that commands write to: nothing is replaced that a command did not write itself.

Every check here is made before anything is written.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from rss_agents.files import write_picture
from rss_env.datasets.paths import is_folder
from rss_env.errors import InputError
from rss_env.whole_files import LONGEST_NAME

_MARK = "Software"  # the keyword of a PNG's text that names what wrote it


def write_marked_picture(path: Path, picture: Image.Image, program: str) -> None:
    """Write a PNG in one move that says which command it is of, so that `is_written_by` knows.

    Raises:
        OSError: If it cannot be written.
    """
    write_picture(path, picture, {_MARK: f"rss-env: {program}"})


def is_written_by(program: str, path: Path) -> bool:
    """Tell whether a path is a PNG that a command wrote, and no link; only its head is read."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with warnings.catch_warnings(), Image.open(path, formats=("PNG",)) as picture:
            warnings.simplefilter("ignore")  # of many pixels, which are not decoded
            return picture.info.get(_MARK) == f"rss-env: {program}"
    except Exception:  # broken files make Pillow raise almost anything
        return False


def refuse_to_replace(program: str, files: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to write pictures where something lies already.

    Args:
        program: The command that is about to write.
        files: Where to.
        overwrite: Whether it may replace pictures that it wrote before.

    Raises:
        InputError: If something else lies there, or such a picture does without `overwrite`.
    """
    own: list[Path] = []
    for path in files:
        check_names(path)
        if is_written_by(program, path):
            own.append(path)
        elif os.path.lexists(path):
            raise InputError(
                f"{path} is there already, and {program} did not write it: it is never replaced; "
                "choose another place, or move it away"
            )
        check_folder(path.parent)
    if own and not overwrite:
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        raise InputError(
            f"{program} has written {own[0]}{more} before; give --overwrite to replace what it "
            "wrote, or choose another place"
        )


def refuse_links(folder: Path, names: Iterable[str | Path]) -> None:
    """Refuse links in a folder that is written to: they lead out of it.

    Args:
        folder: The folder; it may be a link itself, as somebody has named it.
        names: Of files and folders in it; what is on the way to them is looked at as well.

    Raises:
        InputError: If one is a link.
    """
    seen: set[Path] = set()
    for name in map(Path, names):
        for part in [*name.parents[-2::-1], name]:  # from the folder on
            if part not in seen and (folder / part).is_symlink():
                raise InputError(
                    f"{folder / part} is a link, through which nothing is written: remove it, or "
                    "choose another place"
                )
            seen.add(part)


def refuse_inside(option: str, path: Path, folders: Iterable[Path]) -> None:
    """Refuse a path that is, or lies in, a folder of data: there it would be taken for data.

    Args:
        option: Where the path was given, for the message.
        path: Where something is to be written.
        folders: That hold the data.

    Raises:
        InputError: If it lies in one of them.
    """
    place = path.resolve()
    for folder in folders:
        if folder.resolve() in (place, *place.parents):
            raise InputError(
                f"{option} {path} lies in {folder}, which holds the data: pictures there would be "
                "taken for images or labels; choose a place outside of it"
            )


def check_names(path: Path) -> None:
    """Check that the parts of a path are no longer than file systems take.

    Raises:
        InputError: If one is.
    """
    for name in path.parts:
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise InputError(
                f"{name!r:.100} is too long for a name: {len(os.fsencode(name))} bytes, at most "
                f"{LONGEST_NAME} can be written"
            )


def check_folder(folder: Path) -> None:
    """Check that there is a folder that can be written to, or that one can be made.

    Raises:
        InputError: If there is something else, or a part of the way there is a file.
    """
    check_names(folder)
    for place in (folder, *folder.parents):
        if is_folder(place):
            if not os.access(place, os.W_OK | os.X_OK):
                raise InputError(f"{folder} cannot be written: there is no right to, in {place}")
            return
        if os.path.lexists(place):
            raise InputError(f"{place} is not a folder")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of a file that is written in the block; its errors name the file.

    Raises:
        InputError: If the system does not let it be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
