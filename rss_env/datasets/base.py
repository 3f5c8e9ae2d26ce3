"""The base of all data sets: samples in files, split lists, where a data set lies."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rss_env.datasets.decoding import ByteArray, LabelRule, read_image
from rss_env.datasets.file_digests import FileContents
from rss_env.datasets.image_files import is_hidden
from rss_env.datasets.label_doubts import Counts, LabelDoubts
from rss_env.datasets.paths import Spelling, expanded, is_file, is_folder
from rss_env.datasets.text_files import read_list
from rss_env.digests import file_states
from rss_env.errors import DatasetError

FaultHandler = Callable[[str], None]

_LONGEST_NAME = 4096  # characters; no file system takes longer paths


def raise_fault(message: str) -> None:
    """Raise at a fault in files: what a data set does unless another function is passed.

    Raises:
        DatasetError: Always.
    """
    raise DatasetError(message)


class SegmentationDataset(ABC):
    """Images, most often with a label map each.

    Attributes:
        class_names: One name per class, in the order of the class indices.
        palette: (C, 3) uint8 RGB, a colour per class.
        identity: Equal for two data sets that hold the same samples (a cache key).
        default_image_size: (H, W) that images are resized to by default; None: as others are.
    """

    class_names: tuple[str, ...]
    palette: ByteArray
    identity: Hashable
    default_image_size: tuple[int, int] | None = None

    @classmethod
    def split_names(cls, **options: Any) -> list[str]:
        """The splits that the data at hand offer; none unless a data set names some.

        Args:
            **options: The data set's own arguments.

        Raises:
            DatasetError: If the data are not there.
        """
        return []

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.class_names)

    @property
    @abstractmethod
    def has_labels(self) -> bool:
        """Tell whether samples come with label maps."""

    @abstractmethod
    def __len__(self) -> int: ...

    def doubts(self, class_pixels: Counts, void_pixels: Counts) -> LabelDoubts:
        """Say what is odd about all labels together; nothing unless a data set looks for it.

        Args:
            class_pixels: (M, C) int64, pixels of each class in the label of each sample.
            void_pixels: (M,) int64, pixels of no class.
        """
        return LabelDoubts()

    def name_of(self, index: int) -> str:
        """The name of a sample, for people and for scorers that ask; its number by default."""
        return str(index)

    @abstractmethod
    def read(
        self, index: int, image_size: tuple[int, int] | None = None
    ) -> tuple[ByteArray, ByteArray | None]:
        """Read one sample, resized as a whole (images bilinear, labels nearest).

        Args:
            index: Which sample, 0..len-1.
            image_size: (H, W), or None for the sample's own size.

        Returns:
            Image (H, W, 3) and label (H, W) with classes 0..C-1 and 255 for void, or None.

        Raises:
            DatasetError: If a file cannot be used.
        """


def voc_palette(num_classes: int) -> ByteArray:
    """The PASCAL VOC colour map, (num_classes, 3) uint8: bits of the index dealt to the channels.

    Source: the VOC2012 development kit, `VOClabelcolormap`.
    """
    index = np.arange(num_classes)
    palette = np.zeros((num_classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return palette


def resized(
    image: Image.Image, label: ByteArray | None, image_size: tuple[int, int] | None
) -> tuple[ByteArray, ByteArray | None]:
    """An RGB image and its label (H, W), if any, at another size; None for their own.

    Images are interpolated bilinearly; labels take the nearest pixel.
    """
    if image_size is None:
        return np.array(image), label
    size = (image_size[1], image_size[0])  # PIL: (width, height)
    pixels = np.array(image.resize(size, Image.Resampling.BILINEAR))
    if label is not None:
        label = np.array(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    return pixels, label


class FileDataset(SegmentationDataset):
    """Samples in files: one image each, and a label file each unless there are no labels.

    Attributes:
        images: Image files.
        labels: Label files in the same order, or None.
        label_rule: What the values in label files mean.
        label_meaning: The same in a sentence where somebody has said it; empty where it is usual.
        samples: Which files they are and how they are read, whatever is in them. (The identity
            also has the files' inodes, sizes and times: it changes when a file does.)
        notes: What is legal but worth knowing of the files that were found, a sentence each.
    """

    label_meaning: str = ""

    def __init__(
        self,
        images: Sequence[Path],
        labels: Sequence[Path] | None,
        class_names: Sequence[str],
        palette: ByteArray,
        label_rule: LabelRule,
        where: str,
        on_fault: FaultHandler = raise_fault,
        notes: Sequence[str] = (),
    ):
        """Check that every file is there.

        Args:
            images: Image files.
            labels: Label files in the same order, or None.
            class_names: C names.
            palette: (C, 3) uint8.
            label_rule: What the values in label files mean.
            where: What this is a list of, for messages.
            on_fault: Called with each fault in the list; samples with missing files are left out
                if it returns.
            notes: What `open_dataset` warns of; empty ones are none.

        Raises:
            DatasetError: If the list is empty or a file is missing.
        """
        if not images:
            on_fault(f"{where} is empty: it names no image")
        spelling = Spelling()
        images = [path if is_file(path) else spelling.find(path) for path in images]
        if labels is not None:
            labels = [path if is_file(path) else spelling.find(path) for path in labels]
        absent = {path for path in (*images, *(labels or ())) if not is_file(path)}
        if absent:
            if on_fault is raise_fault:
                first = next(p for p in (*images, *(labels or ())) if p in absent)
                on_fault(f"{where} names {len(absent)} missing file(s), first {first}")
            for path in sorted(absent):
                on_fault(f"{where} names the missing file {path}")
        samples = list(zip(images, labels or images, strict=True))
        samples = [pair for pair in samples if absent.isdisjoint(pair)]
        self.class_names, self.palette = tuple(class_names), palette
        self.label_rule = label_rule
        self.notes = tuple(note for note in notes if note)
        self._list(samples, has_labels=labels is not None)

    def _list(self, samples: Sequence[tuple[Path, Path]], *, has_labels: bool) -> None:
        """Note the samples, and what they are known by."""
        self.images = [image for image, _ in samples]
        self.labels = [label for _, label in samples] if has_labels else None
        self.samples = (
            tuple(map(os.path.abspath, self.images)),
            None if self.labels is None else tuple(map(os.path.abspath, self.labels)),
            self.class_names,
            self.label_rule.key,
        )
        self.identity = (self.samples, file_states(self._files).tobytes())

    @property
    def _files(self) -> list[Path]:
        return [*self.images, *(self.labels or ())]

    def contents(self, *, anew: bool = False) -> FileContents:
        """What is in the files, images before labels; see `FileContents.of`.

        Args:
            anew: Whether all of them are read, even if their digests are known.

        Raises:
            DatasetError: If one cannot be read, or changes meanwhile.
        """
        return FileContents.of(self._files, anew=anew)

    def without(self, others: FileDataset, where: str) -> FileDataset:
        """The same data set without the images of another.

        Args:
            others: Holds the images to leave out.
            where: What they are listed in, for messages.

        Raises:
            DatasetError: If none of them is an image of this, or none is left.
        """
        names = {os.path.abspath(image) for image in others.images}
        pairs = zip(self.images, self.labels or self.images, strict=True)
        kept = [pair for pair in pairs if os.path.abspath(pair[0]) not in names]
        if not 0 < len(kept) < len(self):
            which = "every image" if not kept else "no image"
            raise DatasetError(f"{where} names {which} of the {len(self)} it is to be left out of")
        rest = copy.copy(self)
        rest._list(kept, has_labels=self.has_labels)
        return rest

    @property
    def has_labels(self) -> bool:
        """Tell whether samples come with label maps."""
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.images)

    def name_of(self, index: int) -> str:
        """The path of the image."""
        return str(self.images[index])

    def read(
        self, index: int, image_size: tuple[int, int] | None = None
    ) -> tuple[ByteArray, ByteArray | None]:
        """Decode and resize one sample; see `SegmentationDataset.read`."""
        image = read_image(self.images[index])
        label = None
        if self.labels is not None:
            label = self.label_rule.read(self.labels[index])
            self.check_sizes(index, image, label)
        return resized(image, label, image_size)

    def check_sizes(self, index: int, image: Image.Image, label: ByteArray) -> None:
        """Check that an image and its label (H, W) cover each other.

        Raises:
            DatasetError: If they do not.
        """
        assert self.labels is not None
        if label.shape == (image.height, image.width):
            return
        turned = label.shape == (image.width, image.height)
        raise DatasetError(
            f"image {self.images[index]} is {image.height}x{image.width} but label "
            f"{self.labels[index]} is {label.shape[0]}x{label.shape[1]}"
            + ("; an image's EXIF orientation is applied, so labels must be upright" * turned)
        )


def read_split(
    path: Path, on_fault: FaultHandler = raise_fault, name_of: Callable[[str], str] = str
) -> list[str]:
    """Sample names of a split list: one a line, relative, inside the data set, repeats kept.

    Args:
        path: The list.
        on_fault: Called with each fault; a faulty line is left out if it returns.
        name_of: From a line to the name it holds.

    Raises:
        DatasetError: If the list is unreadable, empty, or names a path that leads elsewhere.
    """
    names = []
    lines = read_list(path)
    if not lines:
        on_fault(f"split list {path} is empty")
    for name in map(name_of, lines):
        if len(name) > _LONGEST_NAME:
            on_fault(
                f"split list {path} has a line of {len(name)} characters, {name[:40]!r}...; "
                f"valid: up to {_LONGEST_NAME}"
            )
        elif any(os.path.isabs(part) or ".." in Path(part).parts for part in name.split("\t")):
            on_fault(f"split list {path} names {name!r}, which leads out of the data set")
        else:
            names.append(name)
    return names


def list_splits(*folders: Path) -> dict[str, Path]:
    """Split lists by name; where two folders hold the same name, the first wins."""
    found = [file for folder in reversed(folders) for file in folder.glob("*.txt")]
    files = [file for file in found if not is_hidden(file.name)]
    return {file.stem: file for file in sorted(files, key=lambda file: file.stem)}


def is_list_file(split: str) -> bool:
    """Tell whether a `split` argument means a list file rather than the name of a split."""
    return split.endswith(".txt") or os.sep in split


def resolve_root(root: str | os.PathLike[str] | None, name: str, layout: str, how: str) -> Path:
    """The folder a data set lies in: `root`, or `$RSS_DATA_ROOT/<name>`.

    Args:
        root: What the caller gave, or None.
        name: Name of the data set.
        layout: The layout expected below the root, for the message.
        how: How to get the data, for the message.

    Raises:
        DatasetError: If neither is given, or the folder does not exist.
    """
    advice = f"expected layout: {layout}. {how}"
    if root is None:
        base = os.environ.get("RSS_DATA_ROOT")
        if not base:
            raise DatasetError(
                f"{name} needs a root: pass root=..., or set RSS_DATA_ROOT so that it lies in "
                f"$RSS_DATA_ROOT/{name}; {advice}"
            )
        root = Path(base) / name
    folder = expanded(root)
    if not is_folder(folder):
        raise DatasetError(f"{name} root {folder} is not a folder; {advice}")
    return folder


def need_folders(name: str, root: Path, layout: str, *folders: Path) -> None:
    """Check that a data set's root holds the folders of its layout.

    Raises:
        DatasetError: If one is not there.
    """
    for folder in folders:
        if not is_folder(folder):
            raise DatasetError(f"{name} root {root} lacks {folder}; expected layout: {layout}")
