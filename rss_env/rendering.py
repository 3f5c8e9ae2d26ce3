"""Pictures of action maps: palettes, overlays, sheets of panels with heads and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from rss_env.labels import VOID

ByteArray = npt.NDArray[np.uint8]

VOID_COLOUR = (255, 255, 255)
HEAD_HEIGHT = 22  # pixels of a sheet above its panels, if columns have heads
_LEGEND_LINE = 18  # pixels
_LARGEST_FONT, _SMALLEST_FONT = 13, 7
_MOST_NAMED = 24  # classes that are all named in a legend, whether they are seen or not
_FINE = 256  # pixels of a side from which outlines have an edge of their own
_LIGHT = 450  # sum of red, green and blue from which a colour has a dark edge
_LARGEST_PANEL = 960  # pixels of a side


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


def outlined(
    image: ByteArray, class_map: ByteArray, palette: ByteArray, opacity: float = 0.3
) -> ByteArray:
    """Draw a class map (H, W) over its photograph (H, W, 3): tinted a little, regions outlined.

    A class that is black in the palette, as backgrounds are, and void leave the photograph as it
    is, so that what is under the colours can still be judged.
    """
    import cv2  # heavy, and most processes draw nothing

    coloured = [int(c) for c in np.unique(class_map) if c < len(palette) and palette[c].any()]
    shown = np.where(
        np.isin(class_map, coloured)[..., None], overlay(image, class_map, palette, opacity), image
    )
    shown = np.ascontiguousarray(shown)
    side = min(class_map.shape)
    width = max(1, side // 200)
    for c in coloured:
        regions = (class_map == c).astype(np.uint8)
        edges, _ = cv2.findContours(regions, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        colour = tuple(int(value) for value in palette[c])
        if side >= _FINE:  # an edge shows on a photograph of the same colour
            edge = (0, 0, 0) if sum(colour) > _LIGHT else (255, 255, 255)
            cv2.drawContours(shown, edges, -1, edge, width + 2)
        cv2.drawContours(shown, edges, -1, colour, width)
    return shown


def sheet(
    rows: Sequence[Sequence[ByteArray]],
    heads: Sequence[str],
    legend: Sequence[tuple[str, ByteArray]],
    gap: int = 4,
) -> ByteArray:
    """Lay out equally sized pictures (H, W, 3) in rows, with a head over each column.

    Args:
        rows: Pictures; as many in each row as there are heads, or a multiple of it.
        heads: Words over the columns, over and over.
        legend: Names and colours, to stand below the rows, in as many columns as fit.
        gap: Pixels between pictures.

    Returns:
        (H', W', 3) uint8, on white.
    """
    grid = panel_grid(rows, gap)
    width = rows[0][0].shape[1]
    page = Image.new("RGB", (grid.shape[1], HEAD_HEIGHT + grid.shape[0]), "white")
    page.paste(Image.fromarray(grid), (0, HEAD_HEIGHT))
    draw = ImageDraw.Draw(page)
    for column in range(len(rows[0])):
        words = heads[column % len(heads)]
        middle = (column * (width + gap) + width // 2, HEAD_HEIGHT // 2)
        draw.text(middle, words, fill="black", font=_fitting(words, width), anchor="mm")
    return np.array(with_legend(page, legend) if legend else page)


def with_legend(picture: Image.Image, entries: Sequence[tuple[str, ByteArray]]) -> Image.Image:
    """A picture with a swatch and a name for each entry below it, in as many columns as fit."""
    font = ImageFont.load_default(12)
    width = max((int(font.getlength(name)) for name, _ in entries), default=0) + 30
    across = max(1, picture.width // width)
    lines = -(-len(entries) // across)
    size = (max(picture.width, width), picture.height + lines * _LEGEND_LINE + 8)
    page = Image.new("RGB", size, "white")
    page.paste(picture)
    draw = ImageDraw.Draw(page)
    for i, (name, colour) in enumerate(entries):
        x, y = (i % across) * width + 4, picture.height + 6 + (i // across) * _LEGEND_LINE
        draw.rectangle((x, y, x + 14, y + 12), fill=tuple(colour.tolist()), outline="black")
        draw.text((x + 20, y - 1), name, fill="black", font=font)
    return page


def _fitting(words: str, width: int) -> Any:
    """The largest font in which words are no wider than so many pixels."""
    sizes = range(_LARGEST_FONT, _SMALLEST_FONT, -1)
    fonts = map(ImageFont.load_default, sizes)
    small = ImageFont.load_default(_SMALLEST_FONT)
    return next((font for font in fonts if font.getlength(words) <= width), small)


def legend_of(
    class_names: Sequence[str], palette: ByteArray, *class_maps: ByteArray
) -> list[tuple[str, ByteArray]]:
    """Names and colours for a legend: of all classes, or, of many, of those in some maps.

    Void is named if it is in one.
    """
    seen = np.unique(np.concatenate([np.ravel(part) for part in class_maps] or [[]]))
    classes = range(len(class_names))
    if len(class_names) > _MOST_NAMED:
        classes = [int(c) for c in seen if c < len(class_names)]
    void = [("void", np.array(VOID_COLOUR, np.uint8))] if VOID in seen else []
    return [*((class_names[c], palette[c]) for c in classes), *void]


def prediction_sheet(
    image: ByteArray, class_map: ByteArray, class_names: Sequence[str], palette: ByteArray
) -> ByteArray:
    """An image (H, W, 3), its classes (H, W) drawn over it, and the classes alone, side by side.

    Large ones are shrunk to 960 pixels, small ones are enlarged.
    """
    import cv2

    height, width = class_map.shape
    if (share := _LARGEST_PANEL / max(height, width)) < 1:
        size = (max(1, round(width * share)), max(1, round(height * share)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        class_map = np.asarray(
            cv2.resize(class_map, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
        )
    image, class_map = enlarged(image, 256), enlarged(class_map, 256)
    row = [image, outlined(image, class_map, palette), colourise(class_map, palette)]
    legend = legend_of(class_names, palette, class_map)
    return sheet([row], ("image", "overlay", "classes"), legend)


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
    """Repeat the pixels of a picture (H, W, ...) until its width is at least about `side`."""
    times = max(1, side // picture.shape[1])
    return picture.repeat(times, 0).repeat(times, 1)


def palette_image(class_map: ByteArray, palette: ByteArray) -> Image.Image:
    """A class map (H, W) as a palette image: its pixel values are the class indices."""
    colours = np.full((256, 3), VOID_COLOUR, np.uint8)
    colours[: len(palette)] = palette
    image = Image.fromarray(class_map, mode="L")
    image.putpalette(colours.tobytes())
    return image
