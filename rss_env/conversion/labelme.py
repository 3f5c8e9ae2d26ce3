"""Annotations of labelme: a JSON file for each image.

Source of the format: the files that labelme 5 writes, https://github.com/wkentaro/labelme
"""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image

from rss_env.conversion.annotation_files import read_annotations, sample_name
from rss_env.conversion.outlines import (
    AnnotatedImage,
    Region,
    RunLengths,
    check_size,
    from_pixels,
    from_polygons,
)
from rss_env.datasets.image_files import files_below, is_hidden
from rss_env.datasets.paths import is_file, is_folder
from rss_env.errors import DatasetError

IGNORED = "__ignore__"  # labelme's own name of what is to be void
_ROUND = 64  # corners that stand for a circle


@dataclass
class _Shape:
    label: str
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    mask: str | None = None


@dataclass
class _File:
    shapes: list[_Shape]
    imagePath: str  # noqa: N815 (labelme's own names)
    imageHeight: int  # noqa: N815
    imageWidth: int  # noqa: N815


def read_labelme(folder: Path) -> tuple[list[AnnotatedImage], list[str]]:
    """Images with their regions, in the order they were drawn, and the labels by the alphabet.

    Raises:
        DatasetError: If there is no annotation file, or one cannot be read or holds a shape
            without an area.
    """
    if not is_folder(folder):
        raise DatasetError(f"{folder} is not a folder of labelme's JSON files")
    files = sorted(
        path
        for path in files_below(folder)
        if path.suffix == ".json" and not is_hidden(path.name) and is_file(path)
    )
    if not files:
        raise DatasetError(f"{folder} holds no JSON file of labelme")
    found = [_read_file(path, folder) for path in files]
    labels = sorted({region.label for image in found for region in image.regions})
    return found, [label for label in labels if label != IGNORED]


def _read_file(path: Path, folder: Path) -> AnnotatedImage:
    content = read_annotations(_File, path, "JSON file of labelme")
    size = check_size((content.imageHeight, content.imageWidth), str(path))
    beside = path.relative_to(folder).parent / PureWindowsPath(content.imagePath).name
    regions = [
        Region(" ".join(shape.label.split()), _mask_of(shape, size, f"{path}: shape {number}"))
        for number, shape in enumerate(content.shapes)
    ]
    return AnnotatedImage(sample_name(str(beside), str(path)), size, tuple(regions), str(path))


def _mask_of(shape: _Shape, size: tuple[int, int], where: str) -> RunLengths:
    where = f"{where} ({shape.label})"
    points, kind = np.array(shape.points, np.float64).reshape(-1, 2), shape.shape_type
    if kind in ("rectangle", "circle", "mask") and len(points) != 2:
        raise DatasetError(f"{where} is a {kind} of {len(points)} points; valid: 2")
    if kind == "mask":
        return from_pixels(_pasted(shape.mask or "", points, size, where))
    if kind == "rectangle":
        (left, top), (right, bottom) = points
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif kind == "circle":
        centre, edge = points
        angle = np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)
        around = np.stack([np.cos(angle), np.sin(angle)], 1)
        points = centre + np.linalg.norm(edge - centre) * around
    elif kind != "polygon":
        raise DatasetError(
            f"{where} is a {kind}, which has no area; valid: polygon, rectangle, circle, mask"
        )
    return from_polygons([points.ravel().tolist()], size, where)


def _pasted(
    encoded: str, points: np.ndarray, size: tuple[int, int], where: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """A mask shape, a PNG in base64 with its place, as the mask (H, W) of the image."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(encoded)), formats=("PNG",)) as picture:
            check_size((picture.height, picture.width), where)
            pixels = np.array(picture.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{where} has a mask that cannot be decoded: {error}") from None
    left, top = np.round(points[0]).astype(int).tolist()
    inside = np.zeros(size, np.bool_)
    height, width = pixels.shape
    if min(left, top) < 0 or top + height > size[0] or left + width > size[1]:
        raise DatasetError(f"{where} has a mask that reaches out of the image")
    inside[top : top + height, left : left + width] = pixels
    return inside
