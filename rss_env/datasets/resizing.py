"""From the size of a picture to the size a network sees: stretched to it, or fitted into it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from rss_env.datasets.decoding import ByteArray
from rss_env.labels import VOID

Resize = Literal["stretch", "pad"]
RESIZES: tuple[Resize, ...] = ("stretch", "pad")


def window_of(size: tuple[int, int], frame: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a frame that a picture fills if it is fitted in: whole, in the middle.

    Args:
        size: (H, W) of the picture.
        frame: (H, W) of the frame.
    """
    share = min(frame[0] / size[0], frame[1] / size[1])
    rows, columns = (
        min(of_frame, max(1, round(side * share)))
        for side, of_frame in zip(size, frame, strict=True)
    )
    top, left = (frame[0] - rows) // 2, (frame[1] - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def fit_image(image: ByteArray, frame: tuple[int, int]) -> ByteArray:
    """Fit an image (h, w, 3) into a frame (H, W), bilinear: (H, W, 3), black around it."""
    return _fit(image, frame, Image.Resampling.BILINEAR, 0)


def fit_label(label: ByteArray, frame: tuple[int, int]) -> ByteArray:
    """Fit a label (h, w) into a frame (H, W), nearest: (H, W), void (255) around it."""
    return _fit(label, frame, Image.Resampling.NEAREST, VOID)


def _fit(
    values: ByteArray, frame: tuple[int, int], resampling: Image.Resampling, around: int
) -> ByteArray:
    rows, columns = window_of((values.shape[0], values.shape[1]), frame)
    size = (columns.stop - columns.start, rows.stop - rows.start)  # PIL: (width, height)
    filled = np.full((*frame, *values.shape[2:]), around, np.uint8)
    filled[rows, columns] = np.array(Image.fromarray(values).resize(size, resampling))
    return filled


def stretch_of(size: tuple[int, int], frame: tuple[int, int]) -> float:
    """How much taller (above 1) or wider (below 1) things get if a picture is stretched."""
    return (frame[0] / frame[1]) / (size[0] / size[1])


def size_in_shape(
    shape: tuple[int, int], frame: Sequence[int], multiple: int
) -> tuple[int, int] | None:
    """The size of about as many pixels as a frame in the shape of a picture.

    Args:
        shape: (H, W) of the picture.
        frame: (H, W).
        multiple: What both sides are multiples of.

    Returns:
        (H, W); None if none is nearer to the shape than the frame is.
    """

    def stretched(size: tuple[int, int]) -> float:
        return abs(math.log(stretch_of(shape, size)))

    area, aspect = frame[0] * frame[1], shape[0] / shape[1]
    heights, widths = (
        [max(multiple, multiple * number(side / multiple)) for number in (math.floor, math.ceil)]
        for side in (math.sqrt(area * aspect), math.sqrt(area / aspect))
    )
    best = min(((h, w) for h in heights for w in widths), key=stretched)
    return best if stretched(best) < stretched((frame[0], frame[1])) else None
