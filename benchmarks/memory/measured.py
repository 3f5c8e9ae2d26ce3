"""Measured: what tensors and processes take on the CPU."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.memory.computed import batch, update
from rss_agents.algorithms.registry import build_learner
from rss_agents.networks.build import build_network
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.training.config import TrainConfig
from rss_env.datasets import open_dataset
from rss_env.scenes import load_scenes


def allocated_peak(function: Callable[[], object]) -> int:
    """The most bytes of tensors that a function has alive at once on the CPU, measured."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as found:
        function()
    results: Any = found.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([0] + [event.nbytes() for event in events]).max())


def write_images(folder: Path, count: int, size: tuple[int, int], classes: int) -> dict[str, Any]:
    """Images and labels of random squares; returns what a `Folder` data set needs."""
    random = np.random.default_rng(0)
    height, width = size
    grid = (height // 32, width // 32)
    for i in range(count):
        labels = random.integers(0, classes, grid, dtype=np.uint8)
        pixels = random.integers(0, 256, (*grid, 3), dtype=np.uint8)
        for name, values in (("images", pixels), ("labels", labels)):
            (folder / name).mkdir(exist_ok=True)
            picture = Image.fromarray(values).resize((width, height), Image.Resampling.NEAREST)
            picture.save(folder / name / f"{i}.png")
    return {
        "images": str(folder / "images"),
        "labels": str(folder / "labels"),
        "classes": str(classes),
    }


def learner_peak(config: TrainConfig, classes: int, stride: int) -> int:
    """Bytes that acting, being scored, loss and backward pass take, measured on the CPU.

    The network is one layer at the given stride, on images of random squares.
    """
    assert config.image_size is not None
    size = (config.image_size[0], config.image_size[1])
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Any] = write_images(Path(folder), config.num_images, size, classes)
        env: Any = gym.make_vec(
            "RSS/Folder-ImageReward-v0",
            num_envs=config.num_images * config.group_size,
            group_size=config.group_size,
            image_size=size,
            scales=config.scales,
            zoom=config.zoom,
            colour_jitter=config.colour_jitter,
            num_views=config.num_views,
            array="torch",
            **files,
        ).unwrapped
        layer = nn.Conv2d(3, classes, stride, stride)
        learner = build_learner(
            config.algo,
            SegmentationNetwork(layer, classes, stride=stride),
            env,
            lambda: load_scenes(open_dataset("Folder", **files), size),
            agent=config.agent,
            baseline=config.baseline,
            supervised=config.supervised,
            seed=0,
        )
        learner.loss()[0].backward()
        return allocated_peak(lambda: learner.loss()[0].backward())


def two_updates(network: SegmentationNetwork, images: int, size: tuple[int, int]) -> None:
    """Train a little; from the second update on there are gradients and AdamW's state."""
    optimizer = torch.optim.AdamW(network.parameters())
    data = batch(network, images, size)
    for _ in range(2):
        update(network, optimizer, data[0], data[1], torch.float32)


def measured_tensors(name: str, classes: int, images: int, size: tuple[int, int]) -> int:
    """The most bytes of tensors alive at once in two updates of a real network on the CPU."""
    network = build_network(name, classes, size)
    return _weights(network) + allocated_peak(lambda: two_updates(network, images, size))


def measured_process(name: str, classes: int, images: int, size: tuple[int, int]) -> int:
    """The same for the process's memory: its peak, less what it held without the network.

    To be called in a process of its own, since peaks are never forgotten.
    """
    network = build_network(name, classes, size)
    before = _resident() - _weights(network)
    two_updates(network, images, size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _weights(network: SegmentationNetwork) -> int:
    """Bytes of a network's parameters and buffers."""
    return sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])


def _resident() -> int:
    """Bytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """A function's result from a process of its own, which starts with nothing allocated."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
