"""Data sets: one file each, one base class, and the table of names."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from rss_env.datasets.base import FileDataset, SegmentationDataset, is_list_file
from rss_env.datasets.cityscapes import Cityscapes
from rss_env.datasets.folder import Folder
from rss_env.datasets.objects import as_dataset
from rss_env.datasets.own import is_own, load_own
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


def loader_of(name: str) -> Callable[..., Any]:
    """The class of a data set, or a function that opens one.

    Args:
        name: A key of `DATASETS`, `module:Class`, or one that an installed package brings.

    Raises:
        InputError: If there is no such data set.
    """
    if name not in DATASETS and isinstance(name, str) and is_own(name):
        return load_own(name)
    return DATASETS[check_choice("data set", name, DATASETS)]


def arguments_of(name: str | SegmentationDataset) -> list[str]:
    """The names of a data set's own arguments; there are none of one that is open already.

    Args:
        name: As `loader_of` takes it.

    Raises:
        InputError: If there is no such data set.
    """
    if isinstance(name, SegmentationDataset):
        return []
    dataset = loader_of(name)
    return [key for key in inspect.signature(dataset).parameters if key != "on_fault"]


def resolve_dataset(
    name: str, options: Mapping[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Find the loader of a data set, and the arguments it is to be called with.

    Args:
        name: As `loader_of` takes it.
        options: Its own arguments (`root`, `split`, ...); None means its default.

    Raises:
        InputError: If the name or an option is unknown, or a path is none.
    """
    dataset = loader_of(name)
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


def open_dataset(
    name: str | SegmentationDataset, exclude: str | None = None, **options: Any
) -> SegmentationDataset:
    """Open a data set by name; what is odd in its files is a `DatasetWarning`.

    Args:
        name: As `loader_of` takes it; or a data set that is open already, which takes no option.
        exclude: List file, as a split's, of images to leave out.
        **options: Its own arguments (`root`, `split`, ...); None means its default.

    Raises:
        InputError: If the name or an option is unknown, the data cannot be used, or nothing is left
            of it.
    """
    if isinstance(name, SegmentationDataset):
        given = {key: value for key, value in {**options, "exclude": exclude}.items() if value}
        if given:
            raise InputError(f"a data set that is passed as an object takes no {next(iter(given))}")
        return name
    dataset, arguments = resolve_dataset(name, options)
    opened = as_dataset(dataset(**arguments))
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
