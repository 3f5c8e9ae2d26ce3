"""From image and label files to pixels and class indices: the one place that decodes files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

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
    """Rule by which the values in label files become class indices.

    Attributes:
        table: (V,) int16: class index of each value 0..V-1, 255 for void, -1 for a value that
            must not occur. No value of V or more may occur.
        origin: Where the classes come from, for messages: empty, or like `3 classes in names.txt`.
    """

    table: npt.NDArray[np.int16]
    origin: str = ""

    @classmethod
    def identity(cls, num_classes: int, origin: str = "") -> LabelRule:
        """Values are class indices 0..C-1; 255 is void."""
        table = np.full(256, -1, np.int16)
        table[:num_classes] = np.arange(num_classes)
        table[VOID] = VOID
        return cls(table, origin)

    def read(self, path: Path) -> ByteArray:
        """Decode a label file into class indices (H, W) uint8.

        Raises:
            DatasetError: If the file cannot be decoded, has colour channels, or holds a value
                that is not a class.
        """
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
        image, kind = decode_picture(path, "label")
        if image.mode not in _LABEL_MODES:
            raise DatasetError(
                f"label {path} has mode {image.mode}; expected a palette or single-channel image "
                "of class indices (colours are not decoded: save indices instead)"
            )
        if kind == "JPEG":
            raise DatasetError(
                f"label {path} is a JPEG, whose compression changes class indices; save it as PNG"
            )
        return np.array(image).astype(np.int64)

    def _valid_values(self) -> str:
        legal = np.flatnonzero(self.table >= 0)
        if legal[-1] == VOID and self.table[VOID] == VOID:
            return f"{legal[0]}..{legal[-2]}, and {VOID} for void"
        return f"{legal[0]}..{legal[-1]}"
