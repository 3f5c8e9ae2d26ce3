"""From image and label files to pixels and class indices: the one place that decodes files."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from rss_env.datasets.label_colours import LabelColours
from rss_env.datasets.pictures import decode_picture
from rss_env.errors import DatasetError
from rss_env.labels import VOID

_LABEL_MODES = ("1", "L", "P", "I;16", "I;16B", "I")

ByteArray = npt.NDArray[np.uint8]


def read_image(path: Path) -> Image.Image:
    """Decode an image file as RGB, upright: its EXIF orientation is applied.

    Grey, palette, CMYK and transparent images are converted; alpha is dropped.

    Raises:
        DatasetError: If the file cannot be decoded (see `decode_picture`), or holds more than 8
            bits of grey.
    """
    image, _ = decode_picture(path, "image")
    if image.mode[0] in "IF":  # converting would clip, not scale
        raise DatasetError(
            f"image {path} has mode {image.mode}, more than 8 bits of grey; save it with 8 bits"
        )
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise DatasetError(f"image {path} has mode {image.mode}: {error}; save it as RGB") from None


@dataclass(frozen=True)
class LabelRule:
    """Rule by which the values or the colours in label files become class indices.

    Attributes:
        table: (V,) int16: class index of each value 0..V-1, 255 for void, -1 for a value that
            must not occur. No value of V or more may occur.
        origin: Where the classes come from, for messages: empty, or like `3 classes in names.txt`.
        colours: Colours of the classes, where label files show them; None if they do not.
        by_value: Whether values count even if there are colours; they may also be those of colour
            channels that are all alike.
        assumes_void: Whether 255 is void only because nobody has said what it is.
    """

    table: npt.NDArray[np.int16]
    origin: str = ""
    colours: LabelColours | None = None
    by_value: bool = False
    assumes_void: bool = False

    @classmethod
    def identity(cls, num_classes: int, origin: str = "") -> LabelRule:
        """Values are class indices 0..C-1; 255 is void."""
        table = np.full(256, -1, np.int16)
        table[:num_classes] = np.arange(num_classes)
        table[VOID] = VOID
        return cls(table, origin)

    @property
    def key(self) -> Hashable:
        """Equal for two rules only if they read every file alike."""
        values = self.table.tobytes()
        return values if self.colours is None else (values, self.by_value, self.colours.key)

    def read(self, path: Path) -> ByteArray:
        """Decode a label file into class indices (H, W) uint8.

        Raises:
            DatasetError: If the file cannot be decoded, or holds a value or a colour that is not a
                class.
        """
        if self.by_value:
            values = _values_of(_grey(_open_label(path)), path)
        elif self.colours is not None:
            image = _open_label(path)
            if self.colours.apply_to(image):
                return self.colours.classes_of(image, path)
            values = _values_of(image, path)
        else:
            values = self.decode(path)
        classes = self.table[values.clip(0, len(self.table) - 1)]
        illegal = (classes < 0) | (values < 0) | (values >= len(self.table))
        if illegal.any():
            y, x = (int(i) for i in np.argwhere(illegal)[0])
            raise DatasetError(
                f"label {path} holds the value {int(values[y, x])} at row {y}, column {x}; "
                f"valid: {self._valid_values()}{self.origin and f' ({self.origin})'}"
            )
        return classes.astype(np.uint8)

    def decode(self, path: Path) -> npt.NDArray[np.int64]:
        """The raw values of a label file, (H, W); a palette file's are its indices.

        Raises:
            DatasetError: If the file cannot be decoded, or is no map of single values.
        """
        return _values_of(_open_label(path), path)

    def _valid_values(self) -> str:
        legal, void = np.flatnonzero(self.table >= 0), np.flatnonzero(self.table == VOID)
        if not 0 < len(void) <= 3:  # many: what is no class of a data set of more
            return ranges(legal)
        return f"{ranges(np.setdiff1d(legal, void))}, and {ranges(void)} for void"


def _open_label(path: Path) -> Image.Image:
    image, kind = decode_picture(path, "label")
    if kind == "JPEG":
        raise DatasetError(
            f"label {path} is a JPEG, whose compression changes class indices and colours; save it "
            "as PNG"
        )
    return image


def _grey(image: Image.Image) -> Image.Image:
    """One channel of an opaque picture whose colour channels are alike; others as they are."""
    if image.mode not in ("RGB", "RGBA", "LA"):
        return image
    channels = dict(zip(image.getbands(), map(np.array, image.split()), strict=True))
    alpha = channels.pop("A", np.array(255))
    first, *others = channels.values()
    alike = all(np.array_equal(first, other) for other in others)
    return Image.fromarray(first) if alike and (alpha == 255).all() else image


def _values_of(image: Image.Image, path: Path) -> npt.NDArray[np.int64]:
    if image.mode not in _LABEL_MODES:
        raise DatasetError(
            f"label {path} has mode {image.mode}; expected a palette or single-channel image of "
            "class indices (colours are read where every line of the class file is `name R G B`, "
            "and grey in three channels with --label-values; or save indices instead)"
        )
    return np.array(image).astype(np.int64)


def ranges(values: Iterable[int]) -> str:
    """Numbers in ascending order, with runs of them in short: `0..2, 7`."""
    runs: list[list[int]] = []
    for value in map(int, values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1][1:] = [value]
        else:
            runs.append([value])
    return ", ".join("..".join(map(str, run)) for run in runs)
