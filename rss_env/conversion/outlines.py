"""Outlines of things in images, and the label maps that are drawn from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as _mask

from rss_env.datasets.decoding import ByteArray
from rss_env.errors import DatasetError
from rss_env.labels import VOID

coco_mask: Any = _mask  # its own types know half of what it takes
RunLengths = Mapping[str, Any]  # COCO's compressed run-length encoding: `size` and `counts`


@dataclass(frozen=True)
class Region:
    """A part of an image that was given a label."""

    label: str
    mask: RunLengths


@dataclass(frozen=True)
class AnnotatedImage:
    """Regions of one image.

    Attributes:
        name: Path of the image without its suffix, relative to a folder of images.
        size: (H, W) in pixels.
        regions: From the lowest to the topmost.
        where: The file that says so, for messages.
    """

    name: str
    size: tuple[int, int]
    regions: tuple[Region, ...]
    where: str

    def class_map(self, index_of: Mapping[str, int], background: int = VOID) -> ByteArray:
        """The class of every pixel, (H, W) uint8; of the topmost region where several lie.

        Args:
            index_of: The class index of each label.
            background: Of pixels that no region covers.
        """
        drawn = np.full(self.size, background, np.uint8)
        for region in self.regions:
            drawn[coco_mask.decode([region.mask])[:, :, 0].astype(bool)] = index_of[region.label]
        return drawn


def check_size(size: tuple[int, int], where: str) -> tuple[int, int]:
    """Return the (H, W) of an image if it can be one.

    Raises:
        DatasetError: If it is empty, or larger than Pillow's limit for images.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if min(size) < 1 or (limit is not None and size[0] * size[1] > limit):
        raise DatasetError(f"{where} has the size {size[0]}x{size[1]}; valid: 1..{limit} pixels")
    return size


def from_polygons(
    polygons: Sequence[Sequence[float]], size: tuple[int, int], where: str
) -> RunLengths:
    """The pixels inside polygons x1, y1, x2, y2, ... of an image (H, W).

    Raises:
        DatasetError: If a polygon has fewer than three corners, or one far from the image.
    """
    height, width = size
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise DatasetError(
                f"{where} has a polygon of {len(polygon)} numbers; valid: x and y of 3 corners or "
                "more"
            )
        corners = np.array(polygon, np.float64).reshape(-1, 2)
        # Corners may lie a little outside; drawing takes time and memory by the length of edges.
        near = (corners >= (-width, -height)) & (corners <= (2 * width, 2 * height))
        if not near.all():
            x, y = corners[int(np.argmin(near.all(1)))]
            raise DatasetError(
                f"{where} has a corner at ({x:g}, {y:g}), far from a {height}x{width} image"
            )
    if not polygons:
        raise DatasetError(f"{where} has no outline: a box alone is no mask")
    return coco_mask.merge(coco_mask.frPyObjects([list(map(float, p)) for p in polygons], *size))


def from_run_lengths(
    counts: str | Sequence[int], size: tuple[int, int], own_size: tuple[int, int], where: str
) -> RunLengths:
    """The pixels of COCO's run-length encoding, compressed or as lengths, of an image (H, W).

    Raises:
        DatasetError: If it is broken, or of an image of another size.
    """
    if tuple(own_size) != size:
        raise DatasetError(
            f"{where} has a mask of {own_size[0]}x{own_size[1]} in an image of {size[0]}x{size[1]}"
        )
    try:
        lengths = _run_lengths(counts) if isinstance(counts, str) else list(counts)
        if sum(lengths) != size[0] * size[1] or min(lengths) < 0:
            raise ValueError(f"its lengths add up to {sum(lengths)}, not to {size[0] * size[1]}")
    except ValueError as error:
        raise DatasetError(f"{where} has a broken run-length mask: {error}") from None
    return coco_mask.frPyObjects({"size": list(size), "counts": lengths}, *size)


def _run_lengths(counts: str) -> list[int]:
    """The lengths that a compressed string stands for, unchecked by pycocotools itself.

    A character holds five bits, low ones first, and whether more follow; from the third length on,
    the difference to the last but one is written. Source: `rleFrString` of the COCO API.
    """
    codes = np.frombuffer(counts.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 0x20) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or ends[-1:] != len(codes) - 1:
        raise ValueError(f"{counts[:20]!r} is not COCO's code")
    digits = ends - starts + 1
    if digits.max() > 7:
        raise ValueError("a length has more than 35 bits")
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, digits))
    values = np.add.reduceat((codes & 0x1F) << shift, starts)
    values -= np.where(codes[ends] & 0x10, np.int64(1) << 5 * digits, 0)  # a negative one
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values.tolist()


def from_pixels(inside: npt.NDArray[np.bool_]) -> RunLengths:
    """The pixels of a mask (H, W)."""
    return coco_mask.encode(np.asfortranarray(inside, np.uint8))
