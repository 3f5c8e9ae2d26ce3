"""Cityscapes fine annotations in their official layout: 19 training classes, the rest void.

Class names, colours and the mapping from label ids to training ids are torchvision's.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from rss_env.datasets.base import FileDataset, LabelRule, is_list_file, read_split, resolve_root
from rss_env.errors import DatasetError, check_choice
from rss_env.kernels.label_table import VOID

LAYOUT = "{leftImg8bit,gtFine}/<split>/<city>/*_{leftImg8bit,gtFine_labelIds}.png"
HOW = (
    "Get leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from "
    "https://www.cityscapes-dataset.com (free login)."
)


def _is_trained(label_class: Any) -> bool:
    return 0 <= label_class.train_id < VOID


@functools.cache
def _label_classes() -> list[Any]:
    from torchvision.datasets import Cityscapes as Torchvision  # slow to import, and only for this

    return sorted(Torchvision.classes, key=lambda c: c.train_id)


def _label_rule() -> LabelRule:
    table = np.full(256, -1, np.int16)
    for c in _label_classes():
        table[c.id % 256] = c.train_id if _is_trained(c) else VOID  # a licence plate is id -1
    return LabelRule(table)


class Cityscapes(FileDataset):
    """Cityscapes, or any data set in its layout with its label ids."""

    def __init__(self, root: str | None = None, split: str = "train"):
        """Read one split, all cities.

        Args:
            root: Folder that holds `leftImg8bit` and `gtFine`; None for
                `$RSS_DATA_ROOT/Cityscapes`.
            split: `train` or `val`, or the path of a list file with one
                `<split>/<city>/<name>` a line (the part before `_leftImg8bit.png`).

        Raises:
            DatasetError: If the root, the layout, the split or a file is not there.
        """
        base = resolve_root(root, "Cityscapes", LAYOUT, HOW)
        image_folder, label_folder = base / "leftImg8bit", base / "gtFine"
        for needed in (image_folder, label_folder):
            if not needed.is_dir():
                raise DatasetError(
                    f"Cityscapes root {base} lacks {needed}; expected layout: {LAYOUT}"
                )
        if is_list_file(split):
            names = read_split(Path(split))
        elif split == "test":
            raise DatasetError(
                "Cityscapes split 'test' has no public labels and cannot be scored; valid: train, "
                "val"
            )
        else:
            available = sorted(p.name for p in image_folder.iterdir() if p.is_dir())
            check_choice("Cityscapes split", split, [s for s in available if s != "test"])
            found = (image_folder / split).glob("*/*_leftImg8bit.png")
            names = sorted(
                f"{split}/{p.parent.name}/{p.name.removesuffix('_leftImg8bit.png')}" for p in found
            )
        trained = [c for c in _label_classes() if _is_trained(c)]
        super().__init__(
            [image_folder / f"{name}_leftImg8bit.png" for name in names],
            [label_folder / f"{name}_gtFine_labelIds.png" for name in names],
            [c.name for c in trained],
            np.array([c.color for c in trained], np.uint8),
            _label_rule(),
            f"Cityscapes split {split!r} in {image_folder}",
        )
