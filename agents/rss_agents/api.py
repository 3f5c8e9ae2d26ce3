"""Training and prediction from Python: objects in, a network out.

    from rss_agents.api import load, train

    run = train(images, validation=(val_images, val_labels), classes=3, scorer=score, out="runs/a")
    maps = run.predict(new_images)

Everything else is as `rss-train` does it: the options are those of `TrainConfig`, and a run writes
its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from rss_agents.algorithms.sb3_config import ALGORITHMS as SB3_ALGORITHMS
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint
from rss_agents.networks.own_network import is_own
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.networks.tile_config import TileConfig
from rss_agents.predict import predict as predict_image
from rss_agents.train import run_training
from rss_agents.training.config import TrainConfig
from rss_agents.training.object_options import (
    Builder,
    built_network,
    folder_options,
    object_name,
    stride_of,
    with_options,
)
from rss_agents.training.objects import Callback, RunObjects, TrainingEvent
from rss_agents.training.resume import resumed_run
from rss_env.arguments import check_image_size
from rss_env.datasets import SegmentationDataset, default_image_size
from rss_env.datasets.decoding import ByteArray
from rss_env.datasets.objects import as_dataset, image_of
from rss_env.errors import InputError, check_value
from rss_env.feedback import AnyScorer

__all__ = ["Callback", "TrainedNetwork", "TrainedRun", "TrainingEvent", "load", "predict", "train"]


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, and what it takes to read its answers.

    Attributes:
        network: In evaluation mode.
        description: Its classes, their colours, and the size it was trained at.
    """

    network: SegmentationNetwork
    description: NetworkDescription

    def predict(self, images: Any, windows: TileConfig | None = None) -> Any:
        """The class of each pixel, at the images' own sizes.

        Args:
            images: One image, or a batch or a list of them: arrays (H, W, 3), tensors (3, H, W),
                PIL images; uint8, or floats in 0..1.
            windows: With `tiles`, images are looked at in windows of that size instead of resized.

        Returns:
            (H, W) uint8 of one image, (N, H, W) of a batch, a list of (H, W) of a list.

        Raises:
            DatasetError: If an image is none.
        """
        if isinstance(images, (list, tuple)):
            return [self._predict(image_of(image), windows) for image in images]
        if getattr(images, "ndim", 0) == 4:
            return np.stack([self._predict(image_of(image), windows) for image in images])
        return self._predict(image_of(images), windows)

    def _predict(self, pixels: ByteArray, windows: TileConfig | None) -> ByteArray:
        if windows is not None:
            windows.check()
        size, resize = self.description.image_size, self.description.resize
        return predict_image(self.network, Image.fromarray(pixels), size, resize, windows)


@dataclass(frozen=True)
class TrainedRun(TrainedNetwork):
    """A training that has ended, and its network.

    Attributes:
        folder: Of the run.
        result: Content of `result.json`; None if a signal ended the run before.
        stopped_by: The name of that signal; None for none. `train(resume=folder, ...)` goes on.
    """

    folder: Path
    result: dict[str, Any] | None
    stopped_by: str | None = None


def load(
    checkpoint: Path | str, network: nn.Module | str | None = None, device: str = "cpu"
) -> TrainedNetwork:
    """A trained network from the folder of a run, or from a checkpoint file.

    Args:
        checkpoint: The folder or the file, such as `runs/a/best.safetensors`.
        network: For a network of one's own: a module of the same layers, which gets the weights,
            or `module:function`.
        device: Where it shall live.

    Raises:
        InputError: If there is no checkpoint, or it is of another network.
    """
    return TrainedNetwork(*load_checkpoint(Path(checkpoint), device, network))


def predict(checkpoint: Path | str | TrainedNetwork, images: Any, **options: Any) -> Any:
    """The class of each pixel by a trained network; `load` it once to predict often.

    Args:
        checkpoint: As `load` takes it, or what it gives.
        images: As `TrainedNetwork.predict` takes them.
        **options: `network` and `device` of `load`; `windows` of `TrainedNetwork.predict`.
    """
    windows = options.pop("windows", None)
    trained = checkpoint if isinstance(checkpoint, TrainedNetwork) else load(checkpoint, **options)
    return trained.predict(images, windows)


def train(
    data: Any = None,
    labels: Any = None,
    *,
    validation: Any = None,
    classes: int | str | Path | Sequence[str] | None = None,
    scorer: AnyScorer | str | None = None,
    network: nn.Module | Builder | str | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    out: Path | str | None = None,
    resume: Path | str | None = None,
    config: TrainConfig | None = None,
    **options: Any,
) -> TrainedRun:
    """Train a segmentation network, and write the run's folder.

    Args:
        data: Images to learn from, as `rss_env.datasets.objects.as_dataset` takes them: arrays, a
            PyTorch `Dataset` with labels or without, a `SegmentationDataset`; or a folder of
            images. None: the data that the options name.
        labels: Their labels, or a folder of label files; with a scorer none are needed.
        validation: Images, or a pair of images and labels, to validate on, likewise. Without
            labels the default is the images that are learned from.
        classes: Names of the classes, how many, or a class file.
        scorer: Scores maps in place of labels: a callable, or a name as `--scorer` takes it.
        network: A module from normalised (B, 3, H, W) to logits, which is trained itself; a
            function that builds one for C classes; or a name as `--network` takes it.
        callbacks: Functions of a `TrainingEvent`, called after each update that is logged.
        out: Folder for the results; must be new unless `overwrite=True`.
        resume: Goes on with a run that was stopped: its folder. The objects have to be the same;
            its options are those it was started with.
        config: Options to begin with.
        **options: Fields of `TrainConfig` and of `DataConfig`, which go before those of `config`.

    Returns:
        The run with its last network. In the first process, where there are several.

    Raises:
        InputError: If anything is invalid; nothing has been written.
        TrainingError: If it could not go on.
    """
    options |= {} if out is None else {"out": Path(out)}
    if resume is not None:
        named = {"scorer": scorer, "network": network, "env": options.get("env", data)}
        config = resumed_run(Path(resume), named)
    elif config is None:
        if out is None:
            raise InputError("say where the run is written to: out=...")
        config = TrainConfig(Path(out))
    listeners = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    for listener in listeners:
        check_value(callable(listener), "callbacks", "functions of an event", repr(listener))
    objects = RunObjects(callbacks=tuple(listeners))
    if isinstance(data, (str, Path)):
        options |= folder_options(data, labels, validation, classes)
    else:
        objects = _with_data(objects, data, labels, validation, classes)
        if objects.data is not None:
            options["env"] = f"RSS/{object_name(objects.data)}-ImageReward-v0"
        elif classes is not None:
            options["classes"] = str(classes)
    if isinstance(scorer, str):
        options["scorer"] = scorer
    elif scorer is not None:
        objects = replace(objects, scorer=scorer)
        options["scorer"] = object_name(scorer)
    if isinstance(network, str):
        options["network"] = network
    elif network is not None:
        module = built_network(network, None if objects.data is None else objects.data.num_classes)
        objects = replace(objects, network=module)
        stride = stride_of(module, _image_size(objects, with_options(config, options)))
        options["network"] = object_name(module) + (f"@{stride}" if stride > 1 else "")
    config = with_options(config, options)
    if config.algo in SB3_ALGORITHMS and config.sb3.policy == "cnn":
        raise InputError("what SB3's CnnPolicy learns is no network of ours: use rss-train")
    outcome = run_training(config, objects)
    own = objects.network or (config.network if is_own(config.network) else None)
    trained = load_checkpoint(config.out, config.device, own)
    if isinstance(outcome, str):
        return TrainedRun(*trained, config.out, None, outcome)
    return TrainedRun(*trained, config.out, outcome)


def _with_data(
    objects: RunObjects, data: Any, labels: Any, validation: Any, classes: Any
) -> RunObjects:
    """The objects, with data sets made of what was passed."""
    if data is None and labels is not None:
        raise InputError("labels=... are of images: give data=... too")
    if data is not None:
        data = as_dataset(data, labels, classes)
        classes = data.class_names
    if validation is not None:
        pair = validation if isinstance(validation, tuple) else (validation,)
        if len(pair) > 2:
            raise InputError(
                f"validation must be images, or a pair of images and labels, got {len(pair)} parts"
            )
        ready = isinstance(validation, SegmentationDataset)
        validation = as_dataset(*pair, **({} if ready else {"classes": classes}))
    return replace(objects, data=data, validation=validation)


def _image_size(objects: RunObjects, config: TrainConfig) -> tuple[int, int]:
    """(H, W) of the images that a network will see."""
    asked = config.crop_size or config.image_size
    if asked is not None:
        return check_image_size(asked)
    own = None if objects.data is None else objects.data.default_image_size
    return own or default_image_size(config.data.dataset_name)
