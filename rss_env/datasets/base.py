"""What every data set offers, and the rules for reading image and label files, in one place."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from rss_env.errors import DatasetError
from rss_env.kernels.label_table import VOID

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

ByteArray = npt.NDArray[np.uint8]


class SegmentationDataset(ABC):
    """Images, most often with a label map each.

    Attributes:
        class_names: One name per class, in the order of the class indices.
        palette: (C, 3) uint8 RGB, a colour per class.
        identity: Equal for two data sets that hold the same samples (a cache key).
    """

    class_names: tuple[str, ...]
    palette: ByteArray
    identity: Hashable

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return len(self.class_names)

    @property
    @abstractmethod
    def has_labels(self) -> bool:
        """Whether samples come with label maps."""

    @abstractmethod
    def __len__(self) -> int: ...

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


def read_image(path: Path) -> Image.Image:
    """Decode an image file as RGB.

    Raises:
        DatasetError: If the file is missing, truncated, or not an image.
    """
    return _decode(path, "image").convert("RGB")


def _decode(path: Path, role: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return image
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(path), path.name)
        raise DatasetError(f"cannot read {role} {path}: {reason}") from None


@dataclass(frozen=True)
class LabelRule:
    """How the values in label files become class indices.

    Attributes:
        table: (256,) int16: class index, 255 for void, -1 for a value that must not occur.
    """

    table: npt.NDArray[np.int16]

    @classmethod
    def identity(cls, num_classes: int) -> LabelRule:
        """Values are class indices 0..C-1; 255 is void."""
        table = np.full(256, -1, np.int16)
        table[:num_classes] = np.arange(num_classes)
        table[VOID] = VOID
        return cls(table)

    def read(self, path: Path) -> ByteArray:
        """Decode a single-channel or palette label file into class indices (H, W) uint8.

        Raises:
            DatasetError: If the file cannot be decoded, has colour channels, or holds a value
                that is not a class.
        """
        image = _decode(path, "label")
        if image.mode not in ("1", "L", "P", "I;16", "I"):
            raise DatasetError(
                f"label {path} has mode {image.mode}; "
                "expected a palette or single-channel image of class indices"
            )
        values = np.array(image).astype(np.int64)  # palette images keep their indices
        classes = self.table[values.clip(0, VOID)]
        illegal = (classes < 0) | (values < 0) | (values > VOID)
        if illegal.any():
            y, x = (int(i) for i in np.argwhere(illegal)[0])
            valid = np.flatnonzero(self.table[:VOID] >= 0)
            raise DatasetError(
                f"label {path} holds the value {int(values[y, x])} at row {y}, column {x}; "
                f"valid: {valid.min()}..{valid.max()}, and {VOID} for void"
            )
        return classes.astype(np.uint8)


class FileDataset(SegmentationDataset):
    """Samples in files: one image each, and a label file each unless there are no labels.

    Attributes:
        samples: Which files they are and how they are read, whatever is in them. (The identity
            also has the files' sizes and times: it changes when a file does.)
    """

    def __init__(
        self,
        images: Sequence[Path],
        labels: Sequence[Path] | None,
        class_names: Sequence[str],
        palette: ByteArray,
        label_rule: LabelRule,
        where: str,
    ):
        """Check that every file is there.

        Args:
            images: Image files.
            labels: Label files in the same order, or None.
            class_names: C names.
            palette: (C, 3) uint8.
            label_rule: What the values in label files mean.
            where: What this is a list of, for messages.

        Raises:
            DatasetError: If the list is empty or a file is missing.
        """
        if not images:
            raise DatasetError(f"{where} is empty: it names no image")
        missing = [path for path in (*images, *(labels or ())) if not path.is_file()]
        if missing:
            raise DatasetError(f"{where} names {len(missing)} missing file(s), first {missing[0]}")
        self.images, self.labels = list(images), None if labels is None else list(labels)
        self.class_names, self.palette = tuple(class_names), palette
        self.label_rule = label_rule
        self.samples = (
            tuple(map(os.path.abspath, self.images)),
            None if self.labels is None else tuple(map(os.path.abspath, self.labels)),
            self.class_names,
            label_rule.table.tobytes(),
        )
        stats = [os.stat(path) for path in (*self.images, *(self.labels or ()))]
        self.identity = (self.samples, tuple((stat.st_mtime_ns, stat.st_size) for stat in stats))

    @property
    def has_labels(self) -> bool:
        """Whether samples come with label maps."""
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self, index: int, image_size: tuple[int, int] | None = None
    ) -> tuple[ByteArray, ByteArray | None]:
        """Decode and resize one sample; see `SegmentationDataset.read`."""
        image = read_image(self.images[index])
        label = None
        if self.labels is not None:
            label = self.label_rule.read(self.labels[index])
            if label.shape != image.size[::-1]:
                raise DatasetError(
                    f"image {self.images[index]} is {image.size[1]}x{image.size[0]} but label "
                    f"{self.labels[index]} is {label.shape[0]}x{label.shape[1]}"
                )
        if image_size is None:
            return np.array(image), label
        size = (image_size[1], image_size[0])  # PIL: (width, height)
        resized = np.array(image.resize(size, Image.Resampling.BILINEAR))
        if label is not None:
            label = np.array(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
        return resized, label


def read_list(path: Path) -> list[str]:
    """Non-empty lines of a split list or a class-name file, stripped.

    Raises:
        DatasetError: If the file cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read list {path}: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_split(path: Path) -> list[str]:
    """Sample names of a split list: one a line, relative, inside the data set.

    Raises:
        DatasetError: If the list is unreadable, empty, or names a path that leads elsewhere.
    """
    names = read_list(path)
    if not names:
        raise DatasetError(f"split list {path} is empty")
    for name in names:
        if os.path.isabs(name) or ".." in Path(name).parts:
            raise DatasetError(f"split list {path} names {name!r}, which leads out of the data set")
    return names


def is_list_file(split: str) -> bool:
    """Whether a `split` argument means a list file rather than the name of a split."""
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
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"{name} root {folder} is not a folder; {advice}")
    return folder
