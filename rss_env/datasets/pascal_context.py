"""PASCAL-Context in its official layout: the 59 most frequent classes, or 60 with background.

The photographs and splits are those of VOC 2010. Labels come in two forms: PNGs of the 59 classes,
or the original MATLAB files of 459 classes, which `labels.txt` names; the 59 are found in it by
name, everything else is background.

PNGs exist in two orders, with nothing in the files to tell them apart: that of the official
`59_labels.txt`, and the alphabet, which some converters write. `class_order` says which; a
class-name file beside the labels is held against it.

Source: Mottaghi et al., "The Role of Context for Object Detection and Semantic Segmentation in the
Wild", CVPR 2014; https://www.cs.stanford.edu/~roozbeh/pascal-context/ (labels.txt, 59_labels.txt).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rss_env.datasets.base import (
    FaultHandler,
    FileDataset,
    is_list_file,
    list_splits,
    need_folders,
    raise_fault,
    read_list,
    read_split,
    resolve_root,
    voc_palette,
)
from rss_env.datasets.decoding import LabelRule
from rss_env.datasets.matlab_matrix import read_matrix
from rss_env.datasets.voc import sample_name
from rss_env.errors import DatasetError, InputError, check_choice
from rss_env.labels import VOID

BACKGROUND = "background"
# In the order of 59_labels.txt, spelt as in labels.txt.
CLASS_NAMES: tuple[str, ...] = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow table dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor bag bed bench book building cabinet ceiling cloth "
    "computer cup door fence floor flower food grass ground keyboard light mountain mouse curtain "
    "platform sign plate road rock shelves sidewalk sky snow bedclothes track tree truck wall "
    "water window wood".split()
)
_OTHER_SPELLINGS = {"diningtable": "table", "clothes": "cloth", "bedcloth": "bedclothes"}
CLASS_ORDERS = {"official": CLASS_NAMES, "alphabetical": sorted(CLASS_NAMES)}

LAYOUT = (
    "VOCdevkit/VOC2010/{JPEGImages,ImageSets/Main}, and beside them labels as "
    "SegmentationClassContext/*.png, 59_context_labels/*.png, or trainval/*.mat with labels.txt"
)
HOW = "Get it with: rss-data download pascal-context --root ROOT"
PNG_FOLDERS = ("SegmentationClassContext", "59_context_labels")
MAT_FOLDER = "trainval"
_SPLITS = ("train", "val", "trainval")
_VALUE = re.compile("[0-9]{1,5}")  # of a pixel, 16 bits at most
_NAME_FILES = ("59_labels.txt", "class_names.txt")


class _MatlabRule(LabelRule):
    """Labels in the original files: values of `LabelMap`, as `labels.txt` names them."""

    def decode(self, path: Path) -> npt.NDArray[np.int64]:
        """The raw values of a label file, (H, W)."""
        try:
            return read_matrix(path, "LabelMap")
        except KeyError:
            raise DatasetError(f"label {path} holds no variable LabelMap") from None
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read label {path}: {error}") from None


class PascalContext(FileDataset):
    """Whole-scene labels of the VOC 2010 photographs."""

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        classes: int | str = 59,
        class_order: str = "official",
        on_fault: FaultHandler = raise_fault,
    ):
        """Read one split.

        Args:
            root: Folder that holds `VOCdevkit/VOC2010`; None for `$RSS_DATA_ROOT/PascalContext`.
            split: `train`, `val` or `trainval`, or the path of a list file.
            classes: 59, where pixels of other classes are void; or 60, where they are the class
                `background`, index 0.
            class_order: What the values 1..59 in PNGs mean: `official` or `alphabetical`.
                MATLAB files name their values themselves.
            on_fault: See `FileDataset`.

        Raises:
            InputError: If an argument is invalid.
            DatasetError: If the root, the layout, the split or a file is not there, or a
                class-name file contradicts the arguments.
        """
        if str(classes) not in ("59", "60"):
            raise InputError(f"PascalContext classes must be 59 or 60, got {classes!r}")
        order = CLASS_ORDERS[check_choice("class_order", class_order, CLASS_ORDERS)]
        folder = _find_folder(root)
        with_background = str(classes) == "60"
        label_folder, name_file = _find_labels(folder)
        if label_folder.name == MAT_FOLDER:
            assert name_file is not None
            rule: LabelRule = _matlab_rule(name_file, with_background)
        else:
            if name_file is not None:
                _check_order(name_file, class_order)
            rule = _png_rule(order, with_background)
        lists = _find_lists(folder)
        if is_list_file(split):
            path = Path(split)
        else:
            path = lists[check_choice("PascalContext split", split, lists)]
        names = read_split(path, on_fault, sample_name)
        suffix = ".mat" if isinstance(rule, _MatlabRule) else ".png"
        palette = voc_palette(len(CLASS_NAMES) + 1)
        super().__init__(
            [folder / "JPEGImages" / f"{name}.jpg" for name in names],
            [label_folder / f"{name}{suffix}" for name in names],
            [BACKGROUND, *CLASS_NAMES] if with_background else CLASS_NAMES,
            palette if with_background else palette[1:],
            rule,
            f"PascalContext split {path}",
            on_fault,
        )

    @classmethod
    def split_names(cls, root: str | None = None, **options: Any) -> list[str]:
        """Those of train, val and trainval that are there."""
        return list(_find_lists(_find_folder(root)))


def _find_folder(root: str | None) -> Path:
    base = resolve_root(root, "PascalContext", LAYOUT, HOW)
    folder = base / "VOCdevkit" / "VOC2010"
    need_folders("PascalContext", base, LAYOUT, folder / "JPEGImages", folder / "ImageSets")
    return folder


def _find_lists(folder: Path) -> dict[str, Path]:
    sets = folder / "ImageSets"
    found = list_splits(sets / "SegmentationContext", sets / "Main")
    return {name: found[name] for name in _SPLITS if name in found}


def _find_labels(folder: Path) -> tuple[Path, Path | None]:
    """Find the labels, beside the photographs or in the root, and the file that names them."""
    places = (folder, folder.parents[1])
    for name in PNG_FOLDERS:
        for place in places:
            if (place / name).is_dir():
                files = [p / f for p in places for f in _NAME_FILES if (p / f).is_file()]
                return place / name, files[0] if files else None
    for place in places:
        if (place / MAT_FOLDER).is_dir():
            files = [p / "labels.txt" for p in places if (p / "labels.txt").is_file()]
            if not files:
                raise DatasetError(
                    f"{place / MAT_FOLDER} needs labels.txt beside it, which names its 459 "
                    f"classes; expected layout: {LAYOUT}"
                )
            return place / MAT_FOLDER, files[0]
    raise DatasetError(f"{folder} has no Pascal Context labels; expected layout: {LAYOUT}. {HOW}")


def _read_names(path: Path) -> dict[int, str]:
    """Class names by value from lines like `2: aeroplane`, or from bare names, 1 upwards."""
    names: dict[int, str] = {}
    for number, line in enumerate(read_list(path), 1):
        value, colon, name = line.partition(":")
        if colon and not _VALUE.fullmatch(value.strip()):
            raise DatasetError(
                f"{path} line {number} is {line!r:.300}; expected like '2: aeroplane', with a "
                "value of up to 5 digits"
            )
        name = (name if colon else line).replace(" ", "")
        key = int(value) if colon else number
        if key in names:
            raise DatasetError(f"{path} names the value {key} twice")
        names[key] = _OTHER_SPELLINGS.get(name, name)
    return names


def _check_order(path: Path, class_order: str) -> None:
    """Hold a class-name file beside PNG labels against the order they are read in."""
    names = _read_names(path)
    if BACKGROUND in names.values():  # the list begins at value 0, however it is numbered
        names = dict(enumerate(name for _, name in sorted(names.items())))
        names.pop(0)
    expected = dict(enumerate(CLASS_ORDERS[class_order], 1))
    if names == expected:
        return
    fitting = [o for o, order in CLASS_ORDERS.items() if names == dict(enumerate(order, 1))]
    if fitting:
        advice = f"pass class_order={fitting[0]!r}"
    else:
        advice = f"valid: the {len(CLASS_NAMES)} classes in official or alphabetical order"
    first = next(k for k in sorted({*names, *expected}) if names.get(k) != expected.get(k))
    raise DatasetError(
        f"class-name file {path} says that {first} is {names.get(first)!r}, but with class_order="
        f"{class_order!r} it is {expected.get(first)!r}; {advice}"
    )


def _png_rule(order: Sequence[str], with_background: bool) -> LabelRule:
    table = np.full(256, -1, np.int16)
    table[VOID] = VOID
    table[0] = 0 if with_background else VOID
    for value, name in enumerate(order, 1):
        table[value] = CLASS_NAMES.index(name) + with_background
    return LabelRule(table, "59 classes; 0 is background")


def _matlab_rule(path: Path, with_background: bool) -> LabelRule:
    names = _read_names(path)
    value_of = {name: value for value, name in names.items()}
    missing = [name for name in CLASS_NAMES if name not in value_of]
    if missing:
        raise DatasetError(
            f"class-name file {path} lacks {len(missing)} of the 59 classes, first {missing[0]!r}; "
            "expected the 459 lines of the official labels.txt"
        )
    table = np.full(max(names) + 1, -1, np.int16)
    rest = 0 if with_background else VOID
    table[[0, *names]] = rest
    for index, name in enumerate(CLASS_NAMES):
        table[value_of[name]] = index + with_background
    return _MatlabRule(table, f"the {len(names)} classes of {path}")
