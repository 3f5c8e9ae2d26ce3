"""COCO annotations of instances: polygons and run-length masks in one JSON file.

Source of the format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rss_env.conversion.annotation_files import read_annotations, sample_name
from rss_env.conversion.outlines import (
    AnnotatedImage,
    Region,
    RunLengths,
    check_size,
    coco_mask,
    from_polygons,
    from_run_lengths,
)
from rss_env.errors import DatasetError


@dataclass
class _Image:
    id: int | str
    file_name: str
    height: int
    width: int


@dataclass
class _RunLengths:
    size: tuple[int, int]
    counts: str | list[int]


@dataclass
class _Annotation:
    image_id: int | str
    category_id: int
    id: int | str | None = None
    segmentation: list[list[float]] | _RunLengths | None = None


@dataclass
class _Category:
    id: int
    name: str


@dataclass
class _File:
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path) -> tuple[list[AnnotatedImage], list[str]]:
    """Images with their regions, smaller ones on top of larger, and the categories by their ids.

    Raises:
        DatasetError: If the file cannot be read, contradicts itself, or an annotation has no
            outline.
    """
    content = read_annotations(_File, path, "COCO file of instances")
    names = {c.id: " ".join(c.name.split()) for c in sorted(content.categories, key=lambda c: c.id)}
    images = {image.id: image for image in content.images}
    for what, unique, listed in (
        ("category", names, content.categories),
        ("image", images, content.images),
    ):
        if len(unique) < len(listed):
            raise DatasetError(f"{path} gives one id to more than one {what}")
    regions: dict[int | str, list[Region]] = defaultdict(list)
    for number, annotation in enumerate(content.annotations):
        own_id = number if annotation.id is None else annotation.id
        where = f"{path}: annotation {own_id}"
        if annotation.image_id not in images:
            raise DatasetError(
                f"{where} is of image {annotation.image_id!r:.300}, which is not there"
            )
        if annotation.category_id not in names:
            raise DatasetError(
                f"{where} is of category {annotation.category_id}, which is not there"
            )
        image = images[annotation.image_id]
        mask = _mask_of(annotation, image, f"{where} of {image.file_name}")
        regions[image.id].append(Region(names[annotation.category_id], mask))
    found = [
        AnnotatedImage(
            sample_name(image.file_name, str(path)),
            check_size((image.height, image.width), f"{path}: {image.file_name}"),
            tuple(sorted(regions[image.id], key=lambda r: -int(coco_mask.area(r.mask)))),
            str(path),
        )
        for image in content.images
    ]
    return found, list(dict.fromkeys(names.values()))


def _mask_of(annotation: _Annotation, image: _Image, where: str) -> RunLengths:
    size = check_size((image.height, image.width), where)
    outline = annotation.segmentation
    if isinstance(outline, _RunLengths):
        return from_run_lengths(outline.counts, size, outline.size, where)
    return from_polygons(outline or [], size, where)
