"""Values in label files: which of them mean which class, and which mean none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from rss_env.datasets.class_file import Classes
from rss_env.datasets.decoding import ByteArray, LabelRule, ranges
from rss_env.datasets.label_colours import LabelColours
from rss_env.errors import DatasetError
from rss_env.labels import VOID

NONE = "none"
_LARGEST = 65535  # of a label file of 16 bits
_VALUES_ARE = f"whole numbers of 0..{_LARGEST}"


def label_rule_of(
    classes: Classes, label_values: Any, void_values: Any, origin: str = ""
) -> LabelRule:
    """The rule by which label files are read.

    Args:
        classes: The classes, with colours or without.
        label_values: The value of each class, in order; in place of one, several as `1,255`. None:
            the values from 0 upwards, from 1 if 0 is void.
        void_values: Values of pixels of no class, and colours of such as `R,G,B`; `none` for none.
            None: 255, unless that is a class's value.
        origin: Where the classes come from, for messages.

    Raises:
        DatasetError: If these are no values, do not fit the classes or contradict each other.
    """
    names = classes.names
    void, void_colours = _parse_void(void_values)
    if label_values is None:
        start = int(0 in (void or ()))
        values = [(c,) for c in range(start, start + len(names))]
        between = [v for v in void or () if start <= v < start + len(names)]
        if between:
            raise DatasetError(
                f"void_values {between[0]} lies among the values {ranges(sum(values, ()))} of the "
                "classes; say which value is which class with label_values"
            )
    else:
        values = _parse_classes(label_values)
        if len(values) != len(names):
            raise DatasetError(
                f"label_values gives values to {len(values)} classes, but there are {len(names)}"
                f"{origin and f' ({origin})'}; give one for each, in their order"
            )
    of_classes = [value for several in values for value in several]
    twice = [v for v in of_classes if of_classes.count(v) > 1]
    if twice:
        raise DatasetError(f"label_values gives the value {twice[0]} to two classes")
    assumed = void is None
    if void is None:
        void = [] if VOID in of_classes else [VOID]
    both = sorted(set(void) & set(of_classes))
    if both:
        raise DatasetError(f"the value {both[0]} is in void_values and in label_values: choose one")
    table = np.full(max(256, *(v + 1 for v in (*of_classes, *void))), -1, np.int16)
    table[void] = VOID
    for index, several in enumerate(values):
        table[list(several)] = index
    colours = _label_colours(classes, void_colours)
    return LabelRule(
        table,
        origin,
        colours=colours,
        # Who says what the values are means them, also where there are colours.
        by_value=label_values is not None,
        assumes_void=assumed and VOID in void,
    )


def describe_labels(rule: LabelRule, names: Sequence[str]) -> str:
    """What values and colours mean, in a sentence: `value 1 is ground; 2 is tree; 0 is void`."""
    parts = [f"{ranges(np.flatnonzero(rule.table == c))} is {name}" for c, name in enumerate(names)]
    void = ranges(np.flatnonzero(rule.table == VOID))
    sentence = f"value {'; '.join(parts)}; {void or 'nothing'} is void"
    if rule.colours is None or rule.by_value:
        return sentence
    colours = [f"colour {' '.join(map(str, colour))}" for colour in rule.colours.void.tolist()]
    return f"{sentence}; in colours, {', '.join(colours) or 'nothing'} is void"


def _label_colours(classes: Classes, void: list[tuple[int, ...]]) -> LabelColours | None:
    if classes.colours is None:
        if void:
            raise DatasetError(
                f"void_values names the colour {','.join(map(str, void[0]))}, but the classes have "
                "no colours; give a class file of lines `name R G B`"
            )
        return None
    own = [tuple(colour) for colour in classes.colours.tolist()]
    both = [colour for colour in void if colour in own]
    if both:
        raise DatasetError(
            f"the colour {','.join(map(str, both[0]))} is in void_values, and that of the class "
            f"{classes.names[own.index(both[0])]!r}: choose one"
        )
    palette: ByteArray = np.array(void, np.uint8).reshape(-1, 3)
    return LabelColours(classes.colours, palette)


def _entries(name: str, given: Any) -> list[Any]:
    """What was given as a list of entries: one alone stands for a list of one."""
    if isinstance(given, (str, Integral)):
        return [given]
    if not isinstance(given, (Sequence, np.ndarray)) or not len(given):
        raise DatasetError(f"{name} must be values such as 0 255, got {given!r:.300}")
    return list(given)


def _whole_numbers(name: str, entry: Any) -> tuple[int, ...]:
    """The numbers of an entry: 7, "7", "1,255" or (1, 255)."""
    if isinstance(entry, str):
        parts: list[Any] = entry.split(",")
        numbers = [int(p) for p in parts if re.fullmatch(r"\s*[0-9]{1,9}\s*", p)]
    else:
        parts = list(entry) if isinstance(entry, (Sequence, np.ndarray)) else [entry]
        numbers = [int(p) for p in parts if isinstance(p, Integral) and not isinstance(p, bool)]
    if not parts or len(numbers) != len(parts) or not 0 <= min(numbers) <= max(numbers) <= _LARGEST:
        raise DatasetError(f"{name} must be {_VALUES_ARE}, got {entry!r:.300}")
    return tuple(numbers)


def _parse_classes(given: Any) -> list[tuple[int, ...]]:
    return [_whole_numbers("label_values", entry) for entry in _entries("label_values", given)]


def _parse_void(given: Any) -> tuple[list[int] | None, list[tuple[int, ...]]]:
    """Values, None for the usual ones, and colours."""
    if given is None:
        return None, []
    entries = _entries("void_values", given)
    if any(isinstance(entry, str) and entry.strip().lower() == NONE for entry in entries):
        if len(entries) > 1:
            raise DatasetError(f"void_values must be {NONE!r} or values, got {given!r:.300}")
        return [], []
    values, colours = list[int](), list[tuple[int, ...]]()
    for entry in entries:
        numbers = _whole_numbers("void_values", entry)
        if len(numbers) == 1:
            values += numbers
        elif len(numbers) == 3 and max(numbers) <= 255:
            colours.append(numbers)
        else:
            raise DatasetError(
                f"void_values must be values, and colours as R,G,B of 0..255, got {entry!r:.300}"
            )
    return values if values else None, colours
