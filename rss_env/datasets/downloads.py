"""Getting data sets on request: through torchvision where it can, else how to do it by hand.

A download is unpacked in a temporary folder inside the root and moved into place as a whole, so
that an interrupted one leaves nothing behind that looks like a data set.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from rss_env.datasets.base import read_split, voc_palette
from rss_env.datasets.voc import AUGMENTED_LABELS, AUGMENTED_SPLIT
from rss_env.errors import DatasetError, InputError, check_choice

CITYSCAPES_STEPS = """\
Cityscapes needs a login, so it cannot be downloaded for you:
  1. Register at https://www.cityscapes-dataset.com (free for research).
  2. Download leftImg8bit_trainvaltest.zip (11 GB) and gtFine_trainvaltest.zip (241 MB).
  3. Unpack both into {root}, so that it holds leftImg8bit/ and gtFine/.
  4. rss-data check cityscapes --root {root}"""

CONTEXT_STEPS = """\
The labels of Pascal Context have to be fetched by hand:
  1. From https://www.cs.stanford.edu/~roozbeh/pascal-context/ get trainval.tar.gz (the original
     labels, MATLAB files) and labels.txt (the names of their 459 classes).
  2. Unpack them into {root}, so that it holds trainval/*.mat and labels.txt beside VOCdevkit/.
     PNGs of the 59 classes do as well, in 59_context_labels/ or SegmentationClassContext/.
  3. rss-data check pascal-context --root {root}"""


def download_voc(root: Path, *, augmented: bool = False) -> str:
    """Download VOC 2012 (1.9 GB), and on request the labels of the augmented training set.

    Args:
        root: Where `VOCdevkit/VOC2012` is to lie; made if need be.
        augmented: Whether to add `SegmentationClassAug` and `train_aug.txt`, made from the
            Semantic Boundaries Dataset (1.4 GB), to what is there.

    Returns:
        What was done, in a sentence.

    Raises:
        DatasetError: If something cannot be downloaded or written; the root is as it was.
    """
    done = _download_voc_year(root, "2012")
    if augmented:
        done += "\n" + _download_augmented(root / "VOCdevkit" / "VOC2012")
    return done


def download_pascal_context(root: Path) -> str:
    """Download the photographs and splits of VOC 2010 (1.3 GB), and say how to get the labels.

    Returns:
        What was done, and what is left to do.

    Raises:
        DatasetError: If something cannot be downloaded or written; the root is as it was.
    """
    return _download_voc_year(root, "2010") + "\n" + CONTEXT_STEPS.format(root=root)


def explain_cityscapes(root: Path) -> str:
    """Say how to get Cityscapes; nothing is downloaded."""
    return CITYSCAPES_STEPS.format(root=root)


def _download_voc_year(root: Path, year: str) -> str:
    target = root / "VOCdevkit" / f"VOC{year}"
    if target.exists():
        return f"{target} is already there: nothing to download"

    def fetch(folder: Path) -> None:
        from torchvision.datasets import VOCSegmentation  # slow to import, and only for this

        VOCSegmentation(str(folder), year=year, image_set="trainval", download=True)

    with _unpacked(root, f"VOC {year}", fetch) as folder:
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / "VOCdevkit" / f"VOC{year}").rename(target)
    return f"downloaded VOC {year} into {target}"


def _download_augmented(voc: Path) -> str:
    target = voc / AUGMENTED_LABELS
    if target.exists():
        return f"{target} is already there: nothing to download"
    lists = voc / "ImageSets" / "Segmentation"
    train, held_out = (read_split(lists / f"{split}.txt") for split in ("train", "val"))

    def fetch(folder: Path) -> None:
        from torchvision.datasets import SBDataset  # slow to import, and only for this

        # "train_noval" needs a list that its server no longer gives; ours is made from VOC's.
        SBDataset(str(folder), image_set="train", mode="segmentation", download=True)
        labels = folder / AUGMENTED_LABELS
        labels.mkdir()
        known = {*train, *held_out}
        for split in ("train", "val"):
            boundaries = SBDataset(str(folder), image_set=split, mode="segmentation")
            for i, mask in enumerate(tqdm(boundaries.masks, f"converting {split}", unit="label")):
                name = Path(mask).stem
                if name not in known:
                    _save_label(boundaries[i][1], labels / f"{name}.png")

    with _unpacked(voc, "the Semantic Boundaries Dataset", fetch) as folder:
        added = [path.stem for path in (folder / AUGMENTED_LABELS).iterdir()]
        names = sorted({*train, *added})
        listed = folder / f"{AUGMENTED_SPLIT}.txt"
        listed.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        (folder / AUGMENTED_LABELS).rename(target)
        try:
            os.replace(listed, lists / listed.name)
        except OSError:
            target.rename(folder / AUGMENTED_LABELS)
            raise
    return f"added {len(added)} labels in {target}: split {AUGMENTED_SPLIT} has {len(names)} images"


def _save_label(label: Any, path: Path) -> None:
    picture = Image.fromarray(np.asarray(label, np.uint8))
    picture.putpalette(voc_palette(256).tobytes())
    picture.save(path)


@contextmanager
def _unpacked(root: Path, what: str, fetch: Callable[[Path], None]) -> Iterator[Path]:
    """A temporary folder in the root that `fetch` has filled; gone afterwards."""
    made = [place for place in (root, *root.parents) if not place.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".download-", dir=root))
    except OSError as error:
        raise DatasetError(f"cannot write to {root}: {error}") from None
    try:
        fetch(folder)
        yield folder
    # torchvision lets through whatever the network, the archive and the disk raise.
    except Exception as error:
        raise DatasetError(
            f"could not download {what}: {type(error).__name__}: {error}; {root} is as it was"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for place in made:
            if not any(place.iterdir()):
                place.rmdir()


DOWNLOADS = ("VOC", "PascalContext", "Cityscapes")


def download(name: str, root: str | os.PathLike[str], *, augmented: bool = False) -> str:
    """Get a data set, or say how.

    Args:
        name: One of `DOWNLOADS`.
        root: Folder for the data set.
        augmented: `VOC` only: whether to add the augmented training set.

    Returns:
        What was done, and what is left to do.

    Raises:
        InputError: If there is no such download.
        DatasetError: If it fails; the root is as it was.
    """
    root = Path(root)
    check_choice("data set to download", name, DOWNLOADS)
    if augmented and name != "VOC":
        raise InputError(f"only VOC has an augmented training set, not {name}")
    if name == "VOC":
        return download_voc(root, augmented=augmented)
    return download_pascal_context(root) if name == "PascalContext" else explain_cityscapes(root)
