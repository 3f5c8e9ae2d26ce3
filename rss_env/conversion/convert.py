"""The conversion: every label map drawn, checked and written, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rss_env.conversion.coco import read_coco
from rss_env.conversion.labelme import IGNORED, read_labelme
from rss_env.conversion.masks import find_colour_masks, find_voc_masks
from rss_env.conversion.outlines import AnnotatedImage
from rss_env.datasets.class_file import Classes, check_classes, read_classes
from rss_env.datasets.decoding import ByteArray
from rss_env.errors import DatasetError, InputError, check_choice
from rss_env.labels import VOID
from rss_env.rendering import palette_image
from rss_env.whole_files import replace_file

FORMATS = ("colours", "coco", "labelme", "voc")
BACKGROUNDS = ("background", "_background_")  # usual names, the first one's preferred
NO_BACKGROUND = "none"
_MASKS = ("colours", "voc")


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote.

    Attributes:
        images: Number of label maps.
        class_file: The class file beside them, with colours.
        classes: The classes.
        regions: Of each class, the number of regions that were drawn; None of masks.
        class_images: (C,) int64, label maps that each class occurs in.
        class_pixels: (C,) int64, pixels of each class.
        void_pixels: Pixels of no class.
        empty: Images without any region; they are all background.
    """

    images: int
    class_file: Path
    classes: Classes
    regions: list[int] | None
    class_images: np.ndarray
    class_pixels: np.ndarray
    void_pixels: int
    empty: int


@dataclass(frozen=True)
class _Source:
    """Label maps to be written: how each is made, by name."""

    maps: Mapping[str, Callable[[], ByteArray]]
    classes: Classes
    regions: list[int] | None = None
    empty: int = 0


def convert(
    kind: str,
    source: Path,
    out: Path,
    *,
    classes: str | None = None,
    background: str | None = None,
    void_values: Any = None,
    progress: bool = True,
) -> Conversion:
    """Write a palette PNG of class indices for every image, and a class file beside the folder.

    Args:
        kind: One of `FORMATS`.
        source: A folder of masks, a JSON file of COCO, a folder of labelme's JSON files, or a
            folder in VOC's layout.
        out: Folder for the PNGs; new, or empty. The class file is `<out>_classes.txt`.
        classes: Class file; needed for colours. None: the classes that the source names.
        background: Of outlines: the class of pixels that none covers, or `none` if these are void.
        void_values: Of masks: as for a `Folder` data set.
        progress: Whether to show a progress bar.

    Raises:
        InputError: If the source or an argument cannot be used, something is there already, or a
            file cannot be written; nothing is left then.
    """
    check_choice("format", kind, FORMATS)
    for name, given, of_masks in (
        ("background", background, False),
        ("void_values", void_values, True),
    ):
        if given is not None and (kind in _MASKS) != of_masks:
            raise InputError(f"{name} is not of the format {kind}, got {given!r:.300}")
    if out.name in ("", ".."):
        raise InputError(f"--out {out} names no new folder; choose one, such as {out / 'labels'}")
    class_file = out.with_name(f"{out.name}_classes.txt")
    _check_new(out, class_file)
    if kind in _MASKS:
        found = _open_masks(kind, source, classes, void_values)
    else:
        found = _open_outlines(kind, source, classes, background)
    try:
        return _write(found, out, class_file, progress)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from None


def _check_new(out: Path, class_file: Path) -> None:
    is_there = os.path.lexists(out)
    if is_there and (out.is_symlink() or not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there already, and is no empty folder; choose another --out")
    if os.path.lexists(class_file):
        raise InputError(f"the class file {class_file} is there already; choose another --out")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out.absolute().parent}, for the folder {out.name}, does not exist")


def _open_masks(kind: str, source: Path, class_file: str | None, void_values: Any) -> _Source:
    if kind == "voc":
        files, classes, rule = find_voc_masks(source, class_file, void_values)
    else:
        classes = Classes([]) if class_file is None else read_classes(class_file)
        files, rule = find_colour_masks(source, classes, void_values)
    return _Source({n: lambda p=path: rule.read(p) for n, path in files.items()}, classes)


def _open_outlines(
    kind: str, source: Path, class_file: str | None, background: str | None
) -> _Source:
    images, labels = read_coco(source) if kind == "coco" else read_labelme(source)
    known = None if class_file is None else _without_ignored(read_classes(class_file))
    names = labels if known is None else known.names
    if background is None:
        background = next((name for name in BACKGROUNDS if name in names), BACKGROUNDS[0])
    if background != NO_BACKGROUND and background not in names:
        if known is not None:
            raise InputError(
                f"class file {class_file} has no class {background!r} for the pixels that no "
                f"outline covers; add it, or name one with --background, or say --background "
                f"{NO_BACKGROUND} if they are void"
            )
        names = [background, *names]
    missing = [label for label in labels if label not in names]
    if missing:
        raise InputError(f"class file {class_file} lacks {len(missing)} of the labels: {missing}")
    classes = check_classes(known or Classes(names), str(source))
    index_of = {name: index for index, name in enumerate(names)} | {IGNORED: VOID}
    empty_class = index_of.get(background, VOID)
    maps: dict[str, Callable[[], ByteArray]] = {}
    said_by: dict[str, AnnotatedImage] = {}
    for image in images:
        if image.name in said_by:
            other = said_by[image.name].where
            raise InputError(f"{other} and {image.where} both hold the image {image.name!r}")
        said_by[image.name] = image
        maps[image.name] = lambda i=image: i.class_map(index_of, empty_class)
    drawn = Counter(region.label for image in images for region in image.regions)
    regions = [drawn[name] for name in names]
    return _Source(maps, classes, regions, sum(not image.regions for image in images))


def _without_ignored(classes: Classes) -> Classes:
    """Classes of a file without labelme's name of void, which its own class files begin with."""
    kept = [number for number, name in enumerate(classes.names) if name != IGNORED]
    colours = None if classes.colours is None else classes.colours[kept]
    return Classes([classes.names[number] for number in kept], colours)


def _write(source: _Source, out: Path, class_file: Path, progress: bool) -> Conversion:
    """Write everything into a new folder beside, and move it into place."""
    names, palette = source.classes.names, source.classes.palette
    if not source.maps:
        raise InputError("the source holds no image")
    faults, counts = list[str](), np.zeros((len(source.maps), 256), np.int64)
    out, class_file = out.absolute(), class_file.absolute()
    around = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        folder = around / out.name  # with the rights of any folder
        folder.mkdir()
        maps = tqdm(source.maps.items(), "converting", unit="image", disable=not progress)
        for number, (name, draw) in enumerate(maps):
            try:
                class_map = draw()
            except DatasetError as error:
                faults.append(str(error))
                continue
            counts[number] = np.bincount(class_map.ravel(), minlength=256)
            target = folder / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            palette_image(class_map, palette).save(target)
        if faults:
            raise InputError(
                f"{faults[0]} ({len(faults)} of {len(source.maps)} images have a fault)"
            )
        lines = [f"{n} {r} {g} {b}\n" for n, (r, g, b) in zip(names, palette.tolist(), strict=True)]
        replace_file(class_file, lambda path: path.write_text("".join(lines), encoding="utf-8"))
        try:
            if out.is_dir():
                out.rmdir()  # it is empty
            folder.rename(out)
        except BaseException:
            class_file.unlink()
            raise
    finally:
        shutil.rmtree(around, ignore_errors=True)
    of_classes = counts[:, : len(names)]
    void = int(counts.sum() - of_classes.sum())
    seen = (of_classes > 0).sum(0)
    return Conversion(
        len(counts),
        class_file,
        source.classes,
        source.regions,
        seen,
        of_classes.sum(0),
        void,
        source.empty,
    )
