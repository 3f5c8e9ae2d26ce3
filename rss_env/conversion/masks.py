"""Masks in colours or in VOC's layout, as labelling tools export them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from rss_env.conversion.labelme import IGNORED
from rss_env.datasets.class_file import Classes, check_classes, read_classes
from rss_env.datasets.decoding import LabelRule
from rss_env.datasets.image_files import find_images
from rss_env.datasets.label_values import label_rule_of
from rss_env.datasets.paths import is_file, is_folder
from rss_env.datasets.text_files import read_list
from rss_env.datasets.voc import CLASS_NAMES
from rss_env.errors import DatasetError

VOC_VOID = (224, 224, 192)  # the colour of borders in VOC's masks
_FOLDERS = ("SegmentationClass", "SegmentationClassPNG")
_LABEL_MAP, _NAME_FILE = "labelmap.txt", "class_names.txt"
_LABEL_MAP_LINE = re.compile(r"([^:]+):([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}):.*")


def find_colour_masks(
    folder: Path, classes: Classes, void_values: Any
) -> tuple[dict[str, Path], LabelRule]:
    """Masks below a folder by name, and the rule that reads them.

    Raises:
        DatasetError: If there are none, or the classes have no colours.
    """
    if classes.colours is None:
        raise DatasetError(
            "colours need a class file (--classes) whose every line is `name R G B`; it has none"
        )
    return find_images(folder, "masks").files, label_rule_of(classes, None, void_values)


def find_voc_masks(
    root: Path, classes: str | None, void_values: Any
) -> tuple[dict[str, Path], Classes, LabelRule]:
    """Masks of a folder in VOC's layout by name, their classes, and the rule that reads them.

    The classes are those of the class file; or of CVAT's `labelmap.txt` or labelme's
    `class_names.txt` in the folder; or VOC's own.

    Raises:
        DatasetError: If there are no masks, or a file of classes cannot be used.
    """
    places = [
        base / name for base in (root, *sorted(root.glob("VOCdevkit/*"))) for name in _FOLDERS
    ]
    there = [place for place in places if is_folder(place)]
    if not there:
        raise DatasetError(f"{root} holds no folder {' or '.join(_FOLDERS)} of VOC's layout")
    if classes is not None:
        found = read_classes(classes)
    elif is_file(path := there[0].parent / _LABEL_MAP):
        found = check_classes(_read_label_map(path), str(path))
    elif is_file(path := there[0].parent / _NAME_FILE):
        names = [name for name in read_list(path) if name != IGNORED]
        found = check_classes(Classes(names), str(path))
    else:
        found = Classes(list(CLASS_NAMES))
    found = Classes(found.names, found.palette)
    if void_values is None and list(VOC_VOID) not in found.palette.tolist():
        void_values = [",".join(map(str, VOC_VOID))]
    rule = label_rule_of(found, None, void_values)
    return find_images(there[0], "masks").files, found, rule


def _read_label_map(path: Path) -> Classes:
    """Classes from lines `name:R,G,B:parts:actions`, those with # in front left out."""
    names, colours = [], []
    for line in read_list(path):
        if line.startswith("#"):
            continue
        match = _LABEL_MAP_LINE.fullmatch(line)
        if match is None or max(map(int, match.groups()[1:])) > 255:
            raise DatasetError(
                f"{path} holds the line {line!r:.300}; expected `name:R,G,B:parts:actions`"
            )
        names.append(match[1].strip())
        colours.append([int(part) for part in match.groups()[1:]])
    return Classes(names, np.array(colours, np.uint8).reshape(-1, 3))
