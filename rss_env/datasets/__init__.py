"""Data sets: one file each, one base class, and the table of names."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from rss_env.datasets.base import FileDataset, SegmentationDataset, is_list_file
from rss_env.datasets.cityscapes import Cityscapes
from rss_env.datasets.folder import Folder
from rss_env.datasets.pascal_context import PascalContext
from rss_env.datasets.shapes import Shapes
from rss_env.datasets.voc import VOC
from rss_env.errors import InputError, UnknownArgumentError, check_choice, warn_of

DATASETS: dict[str, type[SegmentationDataset]] = {
    "Shapes": Shapes,
    "VOC": VOC,
    "PascalContext": PascalContext,
    "Cityscapes": Cityscapes,
    "Folder": Folder,
}

DEFAULT_IMAGE_SIZE = {"Shapes": (64, 64), "Cityscapes": (128, 256)}
OTHER_IMAGE_SIZE = (128, 128)
PATHS = ("root", "split", "images", "labels")  # options that are paths, or names in their place


def default_image_size(name: str) -> tuple[int, int]:
    """Return the (H, W) that a data set is resized to by default."""
    return DEFAULT_IMAGE_SIZE.get(name, OTHER_IMAGE_SIZE)


def arguments_of(name: str) -> list[str]:
    """The names of a data set's own arguments.

    Args:
        name: A key of `DATASETS`.

    Raises:
        InputError: If there is no such data set.
    """
    dataset = DATASETS[check_choice("data set", name, DATASETS)]
    return [key for key in inspect.signature(dataset).parameters if key != "on_fault"]


def resolve_dataset(
    name: str, options: Mapping[str, Any]
) -> tuple[type[SegmentationDataset], dict[str, Any]]:
    """Find the loader of a data set, and the arguments it is to be called with.

    Args:
        name: A key of `DATASETS`.
        options: Its own arguments (`root`, `split`, ...); None means its default.

    Raises:
        InputError: If the name or an option is unknown, or a path is none.
    """
    dataset = DATASETS[check_choice("data set", name, DATASETS)]
    arguments = {key: value for key, value in options.items() if value is not None}
    valid = arguments_of(name)
    unknown = [key for key in arguments if key not in valid]
    if unknown:
        raise UnknownArgumentError.of(name, unknown[0], valid)
    for key in set(arguments) & set(PATHS):
        if not isinstance(arguments[key], (str, os.PathLike)):
            raise InputError(f"{key} must be a string or a path, got {arguments[key]!r}")
        arguments[key] = os.fspath(arguments[key])
    return dataset, arguments


def open_dataset(name: str, exclude: str | None = None, **options: Any) -> SegmentationDataset:
    """Open a data set by name; what is odd in its files is a `DatasetWarning`.

    Args:
        name: A key of `DATASETS`.
        exclude: List file, as a split's, of images to leave out.
        **options: Its own arguments (`root`, `split`, ...); None means its default.

    Raises:
        InputError: If the name or an option is unknown, the data cannot be used, or nothing is left
            of it.
    """
    dataset, arguments = resolve_dataset(name, options)
    opened = dataset(**arguments)
    for note in getattr(opened, "notes", ()):
        warn_of(note)
    if exclude is None:
        return opened
    if not isinstance(opened, FileDataset) or not is_list_file(exclude):
        raise InputError(
            f"exclude must be a list file (.txt) of images of a data set of files, got {exclude!r} "
            f"for {name}"
        )
    listed = {key: value for key, value in arguments.items() if key != "labels"}
    left_out = dataset(**listed | {"split": exclude})
    assert isinstance(left_out, FileDataset)
    return opened.without(left_out, exclude)
