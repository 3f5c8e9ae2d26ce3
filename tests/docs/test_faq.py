"""The messages that the FAQ quotes are those that come."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import write_sample
from gymnasium.envs import registration
from PIL import Image

from rss_agents.command_line import DataConfig
from rss_agents.live.serving import PageConfig, free_port
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.predict import PredictConfig, predict_folder
from rss_agents.ratings.person import PersonScorer
from rss_agents.training.config import TrainConfig
from rss_agents.training.resume import given_config
from rss_agents.training.setup import open_run
from rss_agents.training.states import RunStates
from rss_env import ActionError, InputError
from rss_env.datasets import open_dataset
from rss_env.datasets.decoding import LabelRule
from rss_env.datasets.label_colours import LabelColours
from rss_env.errors import DatasetError
from rss_env.kernels.dispatch import choose

PAGE = (Path(__file__).parents[2] / "docs" / "faq.md").read_text(encoding="utf-8")
QUOTED = [message.strip() for message in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)]
SHAPES = "RSS/Shapes-ImageReward-v0"


def make(environment_id: str = SHAPES, **options: Any) -> Any:
    few = {"num_scenes": 2} if environment_id == SHAPES else {}
    return gym.make_vec(environment_id, **{"num_envs": 2, **few, **options})


def folder(path: Path, label_shape: tuple[int, int] = (48, 64), value: int = 1) -> dict[str, Any]:
    """Arguments of a `Folder` of one image and its label."""
    write_sample(path / "images" / "x.png", None, np.zeros((48, 64)))
    write_sample(path / "labels" / "x.png", path / "labels" / "x.png", np.full(label_shape, value))
    return {"images": str(path / "images"), "labels": str(path / "labels"), "classes": 3}


def step(actions: Any, **options: Any) -> None:
    env = make(**options)
    env.reset(seed=0)
    env.step(actions(env) if callable(actions) else actions)


def out_of_range(env: Any) -> np.ndarray:
    actions = np.zeros((2, env.single_action_space.shape[0]), np.int64)
    actions[1, 3] = 6
    return actions


def scored_by(answer: Any) -> None:
    options = {
        "num_envs": 8,
        "group_size": 4,
        "scales": (8,),
        "scorer": lambda images, maps: answer,
    }
    step(lambda env: env.action_space.sample(), **options)


def without_registration() -> None:
    for environment_id in [name for name in gym.registry if name.startswith("RSS/")]:
        del gym.registry[environment_id]
    gym.make(SHAPES)


def after_the_end() -> None:
    env = make(autoreset_mode="Disabled")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.step(env.action_space.sample())


def read_folder(path: Path, **options: Any) -> None:
    open_dataset("Folder", **folder(path, **options)).read(0)


def masks_of_0_and_255(path: Path) -> None:
    options = folder(path)
    write_sample(path / "x.png", path / "labels" / "x.png", np.tile([0, 255], (48, 32)))
    make("RSS/Folder-ImageReward-v0", **options)


def coloured_label(path: Path, colours: LabelColours | None = None) -> None:
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path / "x.png")
    dataclasses.replace(LabelRule.identity(3, ""), colours=colours).read(path / "x.png")


def label_of_another_colour(path: Path) -> None:
    coloured_label(path, LabelColours(np.eye(3, dtype=np.uint8), np.zeros((0, 3), np.uint8)))


def train(**options: Any) -> None:
    options.setdefault("data", DataConfig(env=SHAPES))
    open_run(TrainConfig(**{"out": Path("runs/new"), "image_size": (16,), **options}))


def train_twice(path: Path) -> None:
    run = Path("runs/first")
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"out": "", "algo": "rss", "updates": 1}))
    train(out=run)


def segment_onto(path: Path) -> None:
    """Into a folder in which a mask lies."""
    files = folder(path)
    checkpoint(path / "run", "tiny-unet")
    predict_folder(PredictConfig(path / "run", Path(files["images"]), Path(files["labels"])))


def train_on_folder(path: Path) -> None:
    data = DataConfig(env="RSS/Folder-ImageReward-v0", **{**folder(path), "classes": "3"})
    train(data=data)


def train_on_a_dictionary() -> None:
    class Dictionary(torch.nn.Conv2d):
        def forward(self, input: torch.Tensor) -> Any:
            return {"out": super().forward(input)}

    package: Any = ModuleType("my_package")
    package.build_network = lambda num_classes: Dictionary(3, num_classes, 1)
    with patch.dict(sys.modules, {"my_package": package}):
        train(network="my_package:build_network")


def checkpoint(path: Path, network: str) -> Path:
    body = SegmentationNetwork(torch.nn.Conv2d(3, 2, 1), 2)
    description = NetworkDescription.of(network, (8, 8), ("a", "b"), np.zeros((2, 3), np.uint8))
    path.mkdir(exist_ok=True)
    save_checkpoint(path, body, description)
    return path


def resume(path: Path) -> None:
    config = TrainConfig(path, scorer="my_package:my_scorer")
    options = dataclasses.asdict(config) | {"out": str(path)}
    (path / "config.json").write_text(json.dumps(options))
    RunStates(path).write(2, {})
    given_config(["--resume", str(path)])


def replay_other_maps(path: Path) -> None:
    (path / "ratings.jsonl").write_text("")
    PersonScorer(path, asks=False)(
        np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 2, 4, 4), np.uint8)
    )


def listen_twice() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else is there: just as well
            taken.bind(("127.0.0.1", 8050))
            taken.listen()
        free_port(PageConfig())


# What raises each quoted message, by a part of it that no other has.
CAUSES: dict[str, tuple[type[Exception], Callable[[Path], Any]]] = {
    "Namespace RSS": (gym.error.NamespaceNotFound, lambda path: without_registration()),
    "do not divide": (InputError, lambda path: make(scales=(5,))),
    "multiple of group_size": (InputError, lambda path: make(num_envs=6, group_size=4)),
    "'ranking' needs": (InputError, lambda path: make(feedback="ranking")),
    "actions must have shape": (ActionError, lambda path: step(np.zeros((2, 4096), np.int64))),
    "actions must hold": (ActionError, lambda path: step(out_of_range)),
    "call reset before": (gym.error.ResetNeeded, lambda path: make().step(None)),
    "episodes of": (gym.error.ResetNeeded, lambda path: after_the_end()),
    "VOC needs a root": (DatasetError, lambda path: open_dataset("VOC")),
    "is not a folder": (DatasetError, lambda path: open_dataset("VOC", root=str(path / "none"))),
    "without labels": (
        InputError,
        lambda path: make("RSS/Folder-ImageReward-v0", **{**folder(path), "labels": None}),
    ),
    "but label": (DatasetError, lambda path: read_folder(path, label_shape=(24, 64))),
    "holds the value": (DatasetError, lambda path: read_folder(path, value=7)),
    "hold only the values": (DatasetError, masks_of_0_and_255),
    "has mode RGB": (DatasetError, coloured_label),
    "holds the colour": (DatasetError, label_of_another_colour),
    "must return shape": (InputError, lambda path: scored_by(np.zeros(8))),
    "must return scores": (InputError, lambda path: scored_by(np.full((2, 4), 1.5))),
    "is not 'module": (InputError, lambda path: make(scorer="my_package:my_scorer")),
    "a scorer gives one": (
        InputError,
        lambda path: make("RSS/Shapes-PixelReward-v0", scorer=lambda images, maps: 0),
    ),
    "already holds a run": (InputError, train_twice),
    "did not write it": (InputError, segment_onto),
    "which holds the data": (
        InputError,
        lambda path: train(
            out=Path("photos/run"), data=DataConfig("RSS/Folder-ImageReward-v0", images="photos")
        ),
    ),
    "--val-split": (InputError, train_on_folder),
    "compares maps": (InputError, lambda path: train(group_size=1)),
    "device 'cuda'": (InputError, lambda path: make(array="torch", device="cuda")),
    "must give one tensor": (InputError, lambda path: train_on_a_dictionary()),
    "cannot be trained on": (
        InputError,
        lambda path: train(
            network="deeplabv3plus/resnet18@4", image_size=(64,), scales=(4,), num_images=1
        ),
    ),
    "holds the network": (
        InputError,
        lambda path: load_checkpoint(checkpoint(path, "my_package:build_network")),
    ),
    "names the scorer": (InputError, resume),
    "cannot start from": (
        InputError,
        lambda path: train(
            network="tiny-unet-group", start_from=str(checkpoint(path, "tiny-unet"))
        ),
    ),
    "has no rating": (InputError, replay_other_maps),
    "cannot listen": (InputError, lambda path: listen_twice()),
    "'triton' cannot run": (InputError, lambda path: choose("triton", torch.zeros(1), ("numba",))),
}


def test_every_message_of_the_page_has_a_cause_and_only_those():
    for message in QUOTED:
        assert len([part for part in CAUSES if part in message]) == 1, message
    assert len(QUOTED) == len(CAUSES)


@pytest.mark.parametrize("part", CAUSES)
def test_the_message_is_what_comes(part, tmp_path, monkeypatch):
    if part == "device 'cuda'" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RSS_DATA_ROOT", raising=False)
    monkeypatch.setattr(registration, "registry", registry := dict(gym.registry))
    monkeypatch.setattr(gym, "registry", registry)
    error, cause = CAUSES[part]
    (message,) = [message for message in QUOTED if part in message]
    pattern = re.escape(message).replace(r"\.\.\.", ".*")
    with pytest.raises(error) as raised:
        cause(tmp_path)
    assert re.fullmatch(pattern, str(raised.value), re.DOTALL), str(raised.value)
