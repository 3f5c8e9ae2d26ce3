"""From the arguments of a Python call to the options of a run: what stands for objects in them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rss_agents.command_line import DataConfig
from rss_agents.networks.segmentation_network import evaluating
from rss_agents.training.config import TrainConfig
from rss_env.datasets.own import OBJECT
from rss_env.errors import InputError, UnknownArgumentError

Builder = Callable[[int], nn.Module]
_TUPLES = ("image_size", "scales", "zoom")


def object_name(value: Any) -> str:
    """What options call an object: `object `, and the name of the function or the class."""
    name = getattr(value, "name", None) or getattr(value, "__name__", type(value).__name__)
    return OBJECT + (re.sub(r"\W+", "_", str(name)).strip("_") or "unnamed")


def folder_options(
    images: Path | str, labels: Any, validation: Any, classes: Any
) -> dict[str, Any]:
    """The options of folders that are passed in place of images and labels.

    Raises:
        InputError: If anything else stands beside them.
    """
    found: dict[str, Any] = {"env": "RSS/Folder-ImageReward-v0", "images": str(images)}
    pair = validation if isinstance(validation, tuple) else (validation, None)
    if len(pair) != 2:
        raise InputError("validation must be a folder of images, or a pair: images and labels")
    for name, value in {"labels": labels, "val_images": pair[0], "val_labels": pair[1]}.items():
        if isinstance(value, (str, Path)):
            found[name] = str(value)
        elif value is not None:
            raise InputError(f"beside a folder of images, {name} is one too, got {value!r:.80}")
    if isinstance(classes, (str, int, Path)):
        found["classes"] = str(classes)
    elif classes is not None:
        raise InputError(f"beside a folder, classes is a number or a file, got {classes!r:.80}")
    return found


def with_options(config: TrainConfig, options: Mapping[str, Any]) -> TrainConfig:
    """The options with others in their place, by the names of their fields.

    Raises:
        InputError: If there is no such option.
    """
    of_run = {field.name for field in dataclasses.fields(TrainConfig)} - {"data"}
    of_data = {field.name for field in dataclasses.fields(DataConfig)}
    unknown = [name for name in options if name not in of_run | of_data]
    if unknown:
        raise UnknownArgumentError.of("train", unknown[0], sorted(of_run | of_data))
    values: dict[str, Any] = {
        name: str(value) if isinstance(value, Path) and name not in ("out", "resume") else value
        for name, value in options.items()
    }
    for name in _TUPLES:
        if isinstance(values.get(name), int):
            values[name] = (values[name],)
        elif isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    data = {name: value for name, value in values.items() if name in of_data}
    own = {name: value for name, value in values.items() if name in of_run}
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data), **own)


def built_network(network: nn.Module | Builder, num_classes: int | None) -> nn.Module:
    """The module itself, or what its builder makes for C classes.

    Raises:
        InputError: If it is neither, or it is not known how many classes there are.
    """
    if isinstance(network, nn.Module):
        return network
    if not callable(network):
        raise InputError(
            f"network must be a module, a function that builds one, or a name, got {network!r:.80}"
        )
    if num_classes is None:
        raise InputError("the classes are those of files: pass the network itself, or its name")
    return network(num_classes)


@torch.no_grad()
def stride_of(module: nn.Module, image_size: tuple[int, int]) -> int:
    """Side in pixels of the cells that a module gives logits of; 1 if it cannot be told."""
    first = next(module.parameters(), torch.empty(0))
    try:
        with evaluating(module):
            logits = module(torch.zeros(1, 3, *image_size, device=first.device))
        height = int(logits.shape[2])
    except Exception:  # what is wrong with it is told when the run is opened
        return 1
    return max(1, image_size[0] // max(height, 1))
