"""Cityscapes fine annotations in their official layout: 19 training classes, the rest void.

Class names, colours and the mapping from label ids to training ids are torchvision's.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from rss_env.datasets.base import (
    FaultHandler,
    FileDataset,
    is_list_file,
    need_folders,
    raise_fault,
    read_split,
    resolve_root,
)
from rss_env.datasets.decoding import LabelRule
from rss_env.datasets.image_files import (
    find_images,
    is_hidden,
    is_image_name,
    unused_labels,
)
from rss_env.datasets.paths import is_file
from rss_env.errors import DatasetError, check_choice
from rss_env.labels import VOID

LAYOUT = (
    "leftImg8bit/<split>/<city>/*_leftImg8bit.png, and gtFine/<split>/<city>/"
    "*_gtFine_labelIds.png or *_gtFine_labelTrainIds.png"
)
HOW = "How to get it: rss-data download cityscapes --root ROOT"
LABEL_TYPES = ("labelIds", "labelTrainIds")
_IMAGE_END = "_leftImg8bit.png"
_NO_TEST = (
    "Cityscapes split 'test' has no public labels and cannot be scored here, only on the official "
    "evaluation server"
)


def _is_trained(label_class: Any) -> bool:
    return 0 <= label_class.train_id < VOID


@functools.cache
def _label_classes() -> list[Any]:
    from torchvision.datasets import Cityscapes as Torchvision  # slow to import, and only for this

    return sorted(Torchvision.classes, key=lambda c: c.train_id)


def trained_classes() -> list[Any]:
    """The 19 classes that are trained on, in order; each has a `name` and a `color`."""
    return [c for c in _label_classes() if _is_trained(c)]


def _label_rule() -> LabelRule:
    table = np.full(256, -1, np.int16)
    for c in _label_classes():
        table[c.id % 256] = c.train_id if _is_trained(c) else VOID  # a licence plate is id -1
    return LabelRule(table)


class Cityscapes(FileDataset):
    """Cityscapes, or any data set in its layout with its label ids."""

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        label_type: str | None = None,
        on_fault: FaultHandler = raise_fault,
    ):
        """Read one split, all cities.

        Args:
            root: Folder that holds `leftImg8bit` and `gtFine`; None for
                `$RSS_DATA_ROOT/Cityscapes`.
            split: `train` or `val`, or the path of a list file with one
                `<split>/<city>/<name>` a line (the part before `_leftImg8bit.png`).
            label_type: `labelIds`, the files that are distributed; `labelTrainIds`, those that
                the official scripts make of them; None for the first that is there.
            on_fault: See `FileDataset`.

        Raises:
            DatasetError: If the root, the layout, the split or a file is not there.
        """
        image_folder, label_folder = _find_folders(root)
        notes: list[str] = []
        if is_list_file(split):
            names = read_split(Path(split), on_fault, lambda line: line.removesuffix(_IMAGE_END))
            tests = [name for name in names if name.startswith("test/")]
            if tests:
                on_fault(f"split list {split} names {tests[0]!r}; {_NO_TEST}")
                names = [name for name in names if name not in tests]
        elif split == "test":
            raise DatasetError(f"{_NO_TEST}; valid: train, val")
        else:
            check_choice("Cityscapes split", split, _split_names(image_folder))
            found = find_images(image_folder / split, "images", Path(_IMAGE_END).stem)
            names = sorted(f"{split}/{name}" for name in found.files)
            notes = [found.note()]
        if label_type is None:
            there = (
                t for t in LABEL_TYPES if any(is_file(_label(label_folder, n, t)) for n in names)
            )
            label_type = next(there, LABEL_TYPES[0])
        check_choice("label_type", label_type, LABEL_TYPES)
        if not is_list_file(split):
            notes.append(
                unused_labels(_labelled(label_folder, split, label_type), names, label_folder)
            )
        trained = trained_classes()
        super().__init__(
            [image_folder / f"{name}{_IMAGE_END}" for name in names],
            [_label(label_folder, name, label_type) for name in names],
            [c.name for c in trained],
            np.array([c.color for c in trained], np.uint8),
            _label_rule() if label_type == "labelIds" else LabelRule.identity(len(trained)),
            f"Cityscapes split {split!r} in {image_folder}",
            on_fault,
            notes,
        )

    @classmethod
    def split_names(cls, root: str | None = None, **options: Any) -> list[str]:
        """The folders of `leftImg8bit` that also lie in `gtFine`, without `test`."""
        return _split_names(_find_folders(root)[0])


def _find_folders(root: str | None) -> tuple[Path, Path]:
    base = resolve_root(root, "Cityscapes", LAYOUT, HOW)
    folders = base / "leftImg8bit", base / "gtFine"
    need_folders("Cityscapes", base, LAYOUT, *folders)
    return folders


def _split_names(image_folder: Path) -> list[str]:
    # `train_extra` has coarse labels only, which lie elsewhere.
    labelled = {p.name for p in (image_folder.parent / "gtFine").iterdir() if p.is_dir()}
    found = {p.name for p in image_folder.iterdir() if not is_hidden(p.name)}
    return sorted(found & labelled - {"test"})


def _labelled(folder: Path, split: str, label_type: str) -> list[str]:
    """Names of the samples of a split that have a label file."""
    ending = _label(Path(), "", label_type).name
    files = (folder / split).glob(f"*/*{ending}")
    found = (file for file in files if is_image_name(file.name))
    return [file.relative_to(folder).as_posix().removesuffix(ending) for file in found]


def _label(folder: Path, name: str, label_type: str) -> Path:
    return folder / f"{name}_gtFine_{label_type}.png"
