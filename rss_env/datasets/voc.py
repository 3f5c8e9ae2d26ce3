"""PASCAL VOC 2012 segmentation in its official layout: 21 classes, 255 is void."""

from __future__ import annotations

from pathlib import Path

from rss_env.datasets.base import (
    FileDataset,
    LabelRule,
    is_list_file,
    read_split,
    resolve_root,
    voc_palette,
)
from rss_env.errors import DatasetError, check_choice

CLASS_NAMES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()

LAYOUT = "VOCdevkit/VOC2012/{JPEGImages,SegmentationClass,ImageSets/Segmentation}"
HOW = (
    "Get VOCtrainval_11-May-2012.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2012, or call "
    "torchvision.datasets.VOCSegmentation(root, download=True)."
)


class VOC(FileDataset):
    """VOC 2012, or any data set in its layout with its class indices."""

    def __init__(self, root: str | None = None, split: str = "train"):
        """Read one split.

        Args:
            root: Folder that holds `VOCdevkit/VOC2012`; None for `$RSS_DATA_ROOT/VOC`.
            split: A list in `ImageSets/Segmentation`, or the path of a list file.

        Raises:
            DatasetError: If the root, the layout, the split or a file is not there.
        """
        base = resolve_root(root, "VOC", LAYOUT, HOW)
        folder = base / "VOCdevkit" / "VOC2012"
        lists = folder / "ImageSets" / "Segmentation"
        for needed in (folder / "JPEGImages", folder / "SegmentationClass", lists):
            if not needed.is_dir():
                raise DatasetError(f"VOC root {base} lacks {needed}; expected layout: {LAYOUT}")
        if is_list_file(split):
            path = Path(split)
        else:
            available = sorted(p.stem for p in lists.glob("*.txt"))
            path = lists / f"{check_choice('VOC split', split, available)}.txt"
        names = [line.split()[0] for line in read_split(path)]  # VOC lists may carry a flag
        super().__init__(
            [folder / "JPEGImages" / f"{name}.jpg" for name in names],
            [folder / "SegmentationClass" / f"{name}.png" for name in names],
            CLASS_NAMES,
            voc_palette(len(CLASS_NAMES)),
            LabelRule.identity(len(CLASS_NAMES)),
            f"VOC split {path}",
        )
