"""The data of a training, opened as its options say: images to learn from, to validate on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from rss_agents.command_line import DataConfig
from rss_agents.distributed import rank
from rss_agents.outputs import refuse_inside
from rss_agents.training.config import TrainConfig
from rss_agents.training.objects import NO_OBJECTS, RunObjects
from rss_env.datasets import SegmentationDataset
from rss_env.errors import InputError
from rss_env.scenes import Scenes, load_scenes

_DEFAULT_VAL_SPLIT = {"Folder": None}  # every other data set calls it "val"


def scored_files(config: TrainConfig) -> DataConfig:
    """The files of the images that are scored: with a scorer none of them needs a label file."""
    return config.data if config.scorer is None else dataclasses.replace(config.data, labels=None)


def validation_files(config: TrainConfig) -> tuple[DataConfig, str | None]:
    """The files that a run is validated on, and the split of them; None for their default.

    Raises:
        InputError: If it is not said which they are.
    """
    data, name = config.data, config.data.dataset_name
    split = config.val_split
    if split is None and config.val_images is None:
        split = _DEFAULT_VAL_SPLIT.get(name, "val")
        if split is None and (data.labels is not None or config.val_labels is not None):
            raise InputError(
                f"{name} needs --val-split, a list file of the validation images, or --val-images, "
                "a folder of them (with --val-labels, that of their label files)"
            )
    own = {"images": config.val_images, "labels": config.val_labels}
    files = dataclasses.replace(data, **{k: v for k, v in own.items() if v is not None})
    return files, split


def check_same_classes(class_names: Sequence[str], validation: Scenes | None) -> None:
    """Refuse to validate on other classes than those that are learned.

    Raises:
        InputError: Naming both.
    """
    if validation is not None and len(validation.class_names) != len(class_names):
        raise InputError(
            f"validation has {len(validation.class_names)} classes "
            f"({', '.join(validation.class_names)}), training has {len(class_names)}"
        )


def _loaded(
    config: TrainConfig,
    data: SegmentationDataset,
    image_size: tuple[int, int],
    device: torch.device,
) -> Scenes | None:
    """The images of a split, in the first process.

    Raises:
        InputError: If they cannot be used, or their labels say nothing.
    """
    if rank() > 0:
        return None
    scenes = load_scenes(data, image_size, device, config.resize, config.data_on)
    if scenes.class_pixels is not None and not scenes.class_pixels.any():
        raise InputError(
            "every pixel of the validation labels is void: nothing can be measured; name other "
            "images with --val-split, or say with --void-values which values are void"
        )
    return scenes


def open_validation(
    config: TrainConfig,
    image_size: tuple[int, int],
    device: torch.device,
    objects: RunObjects = NO_OBJECTS,
) -> Scenes | None:
    """The images that a run is validated on, opened on all ranks; None except on rank 0.

    Of objects without labels these are those that are learned from, unless others are given.

    Raises:
        InputError: If there is no such split, it cannot be used, or the run would lie in it.
    """
    data = objects.validation
    if data is None and objects.data is not None:
        if objects.data.has_labels:
            raise InputError("images with labels need others to validate on: give validation=...")
        data = objects.data
    if data is not None:
        return _loaded(config, data, image_size, device)
    files, split = validation_files(config)
    data = files.open(split)
    if config.resume is None:
        refuse_inside("--out", config.out, files.folders(data))
    return _loaded(config, data, image_size, device)
