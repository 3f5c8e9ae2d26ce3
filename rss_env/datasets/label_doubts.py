"""Labels that can be read, but hardly mean what they are read as: masks saved as 0 and 255."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rss_env.errors import DatasetError, warn_of
from rss_env.labels import VOID

_LARGE = 0.05  # share of void from which a class that never occurs may be meant by it
_NAMED = 5  # classes that a message names

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelDoubts:
    """Doubts about the meaning of labels, a sentence each.

    Attributes:
        faults: What cannot be meant.
        warnings: What may be.
    """

    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def tell(self) -> None:
        """Warn of what may not be meant.

        Raises:
            DatasetError: If there is a fault.
        """
        if self.faults:
            raise DatasetError(self.faults[0])
        for warning in self.warnings:
            warn_of(warning)


def doubts_about_void(
    class_pixels: Counts,
    void_pixels: Counts,
    names: Sequence[str],
    files: Sequence[Path | str],
    way_out: str | None = None,
) -> LabelDoubts:
    """Look for 255 that is read as void, but may be a class.

    Args:
        class_pixels: (M, C) pixels of each class in each label.
        void_pixels: (M,) pixels of void in each label.
        names: C names.
        files: M label files, or what else the labels are called.
        way_out: What to do about it; None for the options that say what values mean.
    """
    void = void_pixels > 0
    with_objects = class_pixels[:, 1:].any(1)
    doubtful = void & ~with_objects  # only 0 and 255, or only 255
    seen = class_pixels.sum(0) > 0
    absent = [name for name, there in zip(names, seen, strict=True) if not there]
    if doubtful.any() and class_pixels[doubtful, 0].any() and not with_objects.any():
        return LabelDoubts(
            (
                f"the labels hold only the values 0 and {VOID}, {files[int(doubtful.argmax())]} "
                f"for one, and {VOID} is read as void: nothing is {_named(absent)}. "
                f"{way_out or _way_out(names, str(VOID))}",
            )
        )
    if doubtful.any() and with_objects.any() and not (void & with_objects).any():
        return LabelDoubts(
            (
                f"the labels are of two kinds: {int(doubtful.sum())} file(s) hold only 0 and "
                f"{VOID}, which is read as void, {files[int(doubtful.argmax())]} for one, and "
                f"{int(with_objects.sum())} hold classes and no {VOID}, "
                f"{files[int(with_objects.argmax())]} for one. "
                f"{way_out or _way_out(names, f'1,{VOID}')}",
            )
        )
    share = void_pixels.sum() / max(1, void_pixels.sum() + class_pixels.sum())
    if absent and share >= _LARGE:
        return LabelDoubts(
            warnings=(
                f"the labels may be read wrongly: nothing is {_named(absent)}, while {share:.0%} "
                f"of the pixels are {VOID}, which is read as void. {way_out or _way_out(names)}",
            )
        )
    return LabelDoubts()


def _named(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return " or ".join(map(repr, names[:_NAMED])) + (f" or {rest} more" if rest > 0 else "")


def _way_out(names: Sequence[str], value: str | None = None) -> str:
    """What to say, by the options of commands and their names in Python."""
    values = f"--label-values 0 {value}" if value and len(names) == 2 else "--label-values"
    meaning = f"0 is {names[0]!r} and {value} {names[1]!r}" if value and len(names) == 2 else ""
    return (
        f"If {VOID} is a class, say which value is which class with {values}"
        f"{meaning and f' ({meaning})'}; if it is void, say so with --void-values {VOID} (in "
        "Python: label_values, void_values)"
    )
