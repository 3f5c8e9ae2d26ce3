"""PASCAL VOC 2012 segmentation in its official layout: 21 classes, 255 is void.

The augmented training set (10,582 images: the labels of the Semantic Boundaries Dataset added to
VOC's own, validation images left out) is there when `SegmentationClassAug` or its list is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rss_env.datasets.base import (
    FaultHandler,
    FileDataset,
    is_list_file,
    list_splits,
    need_folders,
    raise_fault,
    read_split,
    resolve_root,
    voc_palette,
)
from rss_env.datasets.decoding import LabelRule
from rss_env.datasets.image_files import is_image_name
from rss_env.datasets.paths import is_file
from rss_env.errors import check_choice

CLASS_NAMES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()

LAYOUT = "VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation}"
HOW = "Get it with: rss-data download voc --root ROOT"
AUGMENTED_LABELS = "SegmentationClassAug"
AUGMENTED_SPLIT = "train_aug"
_SAME_SPLIT = {"trainaug": AUGMENTED_SPLIT, "trainvalaug": "trainval_aug"}


def sample_name(line: str) -> str:
    """The sample that a line of a VOC list means.

    Lines are `2007_000032`, with a flag behind it in some official lists, or pairs like
    `/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png` in some augmented ones.
    """
    name = line.split()[0]
    if not name.endswith(".jpg"):
        return name
    return name.removeprefix("/").removeprefix("JPEGImages/").removesuffix(".jpg")


class VOC(FileDataset):
    """VOC 2012, or any data set in its layout with its class indices."""

    def __init__(
        self,
        root: str | None = None,
        split: str = "train",
        on_fault: FaultHandler = raise_fault,
    ):
        """Read one split.

        Args:
            root: Folder that holds `VOCdevkit/VOC2012`; None for `$RSS_DATA_ROOT/VOC`.
            split: A list in `ImageSets/Segmentation` (or `SegmentationAug`), `train_aug` for the
                augmented training set, or the path of a list file. Augmented splits take labels
                from `SegmentationClassAug` before `SegmentationClass`, others the other way
                round.
            on_fault: See `FileDataset`.

        Raises:
            DatasetError: If the root, the layout, the split or a file is not there.
        """
        folder = _find_folder(root)
        label_folders = [folder / "SegmentationClass", folder / AUGMENTED_LABELS]
        lists = _find_lists(folder)
        if is_list_file(split):
            where, names = split, read_split(Path(split), on_fault, sample_name)
        else:
            split = _SAME_SPLIT.get(split, split)
            check_choice("VOC split", split, _split_names(folder))
            if split.endswith("_aug"):
                label_folders.reverse()
            if split in lists:
                where, names = str(lists[split]), read_split(lists[split], on_fault, sample_name)
            else:
                where = str(folder / AUGMENTED_LABELS)
                held_out, train = (
                    set(read_split(lists[name], on_fault, sample_name)) if name in lists else set()
                    for name in ("val", "train")
                )
                files = (folder / AUGMENTED_LABELS).glob("*.png")
                labelled = {file.stem for file in files if is_image_name(file.name)}
                names = sorted((labelled | train) - held_out)
        super().__init__(
            [folder / "JPEGImages" / f"{name}.jpg" for name in names],
            [_label_file(name, label_folders) for name in names],
            CLASS_NAMES,
            voc_palette(len(CLASS_NAMES)),
            LabelRule.identity(len(CLASS_NAMES)),
            f"VOC split {where}",
            on_fault,
        )

    @classmethod
    def split_names(cls, root: str | None = None, **options: Any) -> list[str]:
        """The lists in `ImageSets`, and the augmented split where there are labels for it."""
        return _split_names(_find_folder(root))


def _find_folder(root: str | None) -> Path:
    base = resolve_root(root, "VOC", LAYOUT, HOW)
    folder = base / "VOCdevkit" / "VOC2012"
    needed = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    need_folders("VOC", base, LAYOUT, *(folder / part for part in needed))
    return folder


def _find_lists(folder: Path) -> dict[str, Path]:
    sets = folder / "ImageSets"
    found = list_splits(sets / "Segmentation", sets / "SegmentationAug")
    return {_SAME_SPLIT.get(name, name): path for name, path in found.items()}


def _split_names(folder: Path) -> list[str]:
    names = set(_find_lists(folder))
    if (folder / AUGMENTED_LABELS).is_dir():
        names.add(AUGMENTED_SPLIT)
    return sorted(names)


def _label_file(name: str, folders: list[Path]) -> Path:
    files = [folder / f"{name}.png" for folder in folders]
    # Where there is none, the first is the one to name as missing.
    there = [file for file in files if is_file(file)]
    return there[0] if there else files[0]
