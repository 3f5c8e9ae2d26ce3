"""Class files: a name a line, and beside it the colour that masks show the class in, if they do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rss_env.datasets.base import voc_palette
from rss_env.datasets.decoding import ByteArray
from rss_env.datasets.text_files import read_list
from rss_env.errors import DatasetError

_COLOUR = r"(?P<red>[0-9]{1,9})[\s,]+(?P<green>[0-9]{1,9})[\s,]+(?P<blue>[0-9]{1,9})"
_COLOURED = re.compile(rf"(?P<name>.*?\S)[\s,]+{_COLOUR}")
_COLOUR_FIRST = re.compile(rf"{_COLOUR}[\s,]+(?P<name>\S.*)")  # CamVid's label_colors.txt


@dataclass(frozen=True)
class Classes:
    """Names and colours of classes, in the order of the class indices.

    Attributes:
        names: C names.
        colours: (C, 3) uint8 RGB, as the file says them; None if it says none.
    """

    names: list[str]
    colours: ByteArray | None = None

    @property
    def palette(self) -> ByteArray:
        """(C, 3) uint8 RGB, the colours, or those of the PASCAL VOC colour map."""
        return voc_palette(len(self.names)) if self.colours is None else self.colours


def read_classes(classes: str | int) -> Classes:
    """Classes from a file with one a line, or made up for a number.

    Lines are `name`, `name R G B` or, as CamVid has them, `R G B name`.

    Raises:
        DatasetError: If the file is unreadable, names a class or a colour twice, gives colours to
            some classes only, or there are fewer than two classes or more than 255.
    """
    if isinstance(classes, str) and not classes.isdecimal():
        path = Path(classes)
        return check_classes(_split_colours(path, read_list(path)), f"class-name file {classes}")
    count = int(classes[:9]) if isinstance(classes, str) else classes
    made_up = [f"class {c}" for c in range(min(count, 256))]
    return check_classes(Classes(made_up), f"classes {classes!r:.300}", count)


def check_classes(classes: Classes, origin: str, count: int | None = None) -> Classes:
    """Return classes that can be told apart, and be indices of 8 bits beside 255 for void.

    Args:
        classes: The classes.
        origin: Where they come from, for messages.
        count: How many are meant; None for as many as there are.

    Raises:
        DatasetError: If they cannot.
    """
    names = classes.names
    count = len(names) if count is None else count
    if not 2 <= count <= 255:
        raise DatasetError(f"{origin} gives {count} classes; valid: 2..255")
    if "" in names:
        raise DatasetError(f"{origin} gives class {names.index('')} no name")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DatasetError(f"{origin} names the class {twice[0]!r:.300} twice")
    first: dict[tuple[int, ...], str] = {}
    for name, colour in zip(names, classes.palette.tolist(), strict=True):
        other = first.setdefault(tuple(colour), name)
        if other != name:
            raise DatasetError(
                f"{origin} gives the colour {' '.join(map(str, colour))} to two classes, "
                f"{other!r:.300} and {name!r:.300}"
            )
    return classes


def _split_colours(path: Path, lines: list[str]) -> Classes:
    """Names, and the colours behind them if there are."""
    matches = [_COLOURED.fullmatch(line) for line in lines]
    if not any(matches):
        matches = [_COLOUR_FIRST.fullmatch(line) for line in lines]
        if not all(matches):
            return Classes(lines)
    names, colours = list[str](), list[list[int]]()
    for line, match in zip(lines, matches, strict=True):
        if match is None:
            raise DatasetError(
                f"class-name file {path}: {line!r:.300} has no colour, but other lines have; "
                "valid: `name R G B` in every line, or `name` in every line"
            )
        colour = [int(part) for part in match.group("red", "green", "blue")]
        if max(colour) > 255:
            raise DatasetError(
                f"class-name file {path}: {line!r:.300} has no colour of 0..255, as in `name R G B`"
            )
        names.append(match["name"])
        colours.append(colour)
    return Classes(names, np.array(colours, np.uint8))
