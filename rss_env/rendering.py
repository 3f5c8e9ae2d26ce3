"""Pictures of action maps: palettes, overlays, rows of panels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

ByteArray = npt.NDArray[np.uint8]

VOID_COLOUR = (255, 255, 255)


def colourise(class_map: ByteArray, palette: ByteArray) -> ByteArray:
    """Paint a class map (H, W) in palette colours (H, W, 3); void (255) is white."""
    table = np.full((256, 3), VOID_COLOUR, np.uint8)
    table[: len(palette)] = palette
    return table[class_map]


def overlay(
    image: ByteArray, class_map: ByteArray, palette: ByteArray, opacity: float = 0.6
) -> ByteArray:
    """Blend a class map (H, W) over its image (H, W, 3)."""
    mixed = (1.0 - opacity) * image + opacity * colourise(class_map, palette)
    return mixed.astype(np.uint8)


def panel_grid(rows: Sequence[Sequence[ByteArray]], gap: int = 4) -> ByteArray:
    """Lay out equally sized pictures (H, W, 3) in rows on white, `gap` pixels apart."""
    height, width, _ = rows[0][0].shape
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    grid = np.full(shape, 255, np.uint8)
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            y, x = r * (height + gap), c * (width + gap)
            grid[y : y + height, x : x + width] = panel
    return grid


def enlarged(picture: ByteArray, side: int = 128) -> ByteArray:
    """Repeat the pixels of a picture (H, W, 3) until its width is at least about `side`."""
    times = max(1, side // picture.shape[1])
    return picture.repeat(times, 0).repeat(times, 1)


def palette_image(class_map: ByteArray, palette: ByteArray) -> Image.Image:
    """A class map (H, W) as a palette image: its pixel values are the class indices."""
    colours = np.full((256, 3), VOID_COLOUR, np.uint8)
    colours[: len(palette)] = palette
    image = Image.fromarray(class_map, mode="L")
    image.putpalette(colours.tobytes())
    return image
