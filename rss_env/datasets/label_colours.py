"""Colour masks: pixels become classes where their colour is exactly that of a class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from rss_env.errors import DatasetError
from rss_env.labels import VOID

ByteArray = npt.NDArray[np.uint8]

_GREY_MODES = ("1", "L")


def _codes(colours: ByteArray) -> npt.NDArray[np.int32]:
    """A number for each colour (..., 3), the same for the same colour only."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


@dataclass(frozen=True)
class LabelColours:
    """Colours that classes have in label files.

    Attributes:
        classes: (C, 3) uint8 RGB, a colour per class; all distinct.
        void: (V, 3) uint8 RGB, colours of pixels of no class; none of a class.
    """

    classes: ByteArray
    void: ByteArray

    @property
    def key(self) -> tuple[bytes, bytes]:
        """Equal for equal colours only."""
        return self.classes.tobytes(), self.void.tobytes()

    def apply_to(self, image: Image.Image) -> bool:
        """Tell whether a label file is read by its colours rather than by its values.

        Those with colour channels are. A palette file is unless its palette gives the classes their
        colours in order: then its values are the classes. A grey one is where all colours are grey.
        """
        if image.mode in _GREY_MODES:
            return bool((self.classes == self.classes[:, :1]).all())
        if image.mode != "P":
            return image.mode in ("RGB", "RGBA")
        own = _palette_of(image)[: len(self.classes)]
        return not np.array_equal(own, self.classes[: len(own)])

    def classes_of(self, image: Image.Image, path: Path) -> ByteArray:
        """Class indices (H, W) uint8 of a label file, 255 for void.

        Raises:
            DatasetError: If a colour is no class's, or a pixel is transparent.
        """
        if image.mode == "RGBA":
            clear = np.array(image.getchannel("A")) < 255
            if clear.any():
                raise DatasetError(
                    f"label {path} is transparent at {_first(clear)}: it has no colour there; "
                    "save it without transparency"
                )
        if image.mode == "P":
            palette, values = _palette_of(image), np.array(image)
            used = np.unique(values)
            table = np.full(256, -1, np.int16)  # (a value behind the palette is black)
            colours = np.zeros((256, 3), np.uint8)
            colours[: len(palette)] = palette
            table[used] = self._match(colours[used])
            classes = table[values]
        else:
            colours, values = np.array(image.convert("RGB")), None
            classes = self._match(colours)
        wrong = classes < 0
        if wrong.any():
            y, x = (int(i) for i in np.argwhere(wrong)[0])
            colour = colours[y, x] if values is None else colours[values[y, x]]
            raise DatasetError(
                f"label {path} holds the colour {' '.join(map(str, colour))} at {_first(wrong)}, "
                f"which is no class's ({np.count_nonzero(wrong)} pixel(s) have no class's colour)"
            )
        return classes.astype(np.uint8)

    def _match(self, colours: ByteArray) -> npt.NDArray[np.int16]:
        """The class of each colour (..., 3): its index, 255 for void, -1 for none."""
        known = _codes(np.concatenate([self.classes, self.void]))
        meaning = np.full(len(known), VOID, np.int16)
        meaning[: len(self.classes)] = np.arange(len(self.classes))
        order = np.argsort(known)
        known, meaning = known[order], meaning[order]
        codes = _codes(colours)
        place = np.searchsorted(known, codes).clip(max=len(known) - 1)
        return np.where(known[place] == codes, meaning[place], np.int16(-1))


def _palette_of(image: Image.Image) -> ByteArray:
    """The palette of a palette file, (up to 256, 3) RGB."""
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def _first(mask: npt.NDArray[np.bool_]) -> str:
    y, x = np.argwhere(mask)[0]
    return f"row {y}, column {x}"
