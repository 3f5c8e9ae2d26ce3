"""What does an update cost that learns from scores, beside one that learns from labels?

    python -m benchmarks.update_cost

The same network, images and optimiser: `psl`, and `rss` with its shipped defaults for several K, in
turn in one run, after so many updates that the memory of scored maps is full. Beside the ratio
stands the time of everything that is not the network: the update of a learner whose logits are
given. A profile says where that time goes.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import torch
import tyro
from torch import nn

from agents.algorithms import Algorithm
from agents.command_line import DataConfig
from agents.rss import RSSConfig, RSSLearner
from agents.supervised import LabelledLearner
from agents.train import TrainConfig, open_run
from benchmarks.learning.report import machine

# Where the time goes: what is called in an update, by the name of its function.
_PARTS = {
    "recognise": "images recognised",
    "_believe": "beliefs: softmax and pooling",
    "_draw": "maps drawn",
    "mirror": "maps turned to the image's side",
    "step": "environment step: scores, next images",
    "new": "classes counted in new maps",
    "exchange": "memory: older maps fetched, new ones kept",
    "metric_prediction": "scores predicted",
    "metric_covariance": "covariances",
    "whitened_regression": "generalised least squares",
    "run_backward": "backward to the logits",
}


@dataclass
class UpdateCostConfig:
    """Time one update of rss and of psl."""

    members: tuple[int, ...] = (2, 4, 8, 16, 32)
    """K, maps scored per image and scale."""
    num_images: int = 16
    """Images per update."""
    image_size: int = 64
    """Side in pixels."""
    repeats: int = 25
    """Timed rounds of everything, in turn."""
    threads: int = 2
    """Threads of torch and of the kernels."""
    out: Path | None = None
    """File to write the tables to."""


class GivenLogits(nn.Module):
    """A network that costs nothing: the same logits for all images."""

    def __init__(self, network: nn.Module, num_images: int, shape: tuple[int, ...]):
        """Take over a network's decisions; random logits (num_images, *shape)."""
        super().__init__()
        self.decide = network.decide
        self.logits = nn.Parameter(torch.randn(num_images, *shape))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The logits."""
        return self.logits


def _updates(
    config: UpdateCostConfig, algo: Algorithm, members: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """An update, and the part of it that is not the network."""
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(
            TrainConfig(
                out=Path(folder) / "run",
                data=DataConfig("RSS/Shapes-ImageReward-v0"),
                algo=algo,
                agent=RSSConfig(),
                num_images=config.num_images,
                group_size=members,
                image_size=(config.image_size,),
            )
        )
    learner, network = run.learner, run.network
    assert isinstance(learner, RSSLearner | LabelledLearner)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    shape = (network.decide.gains.numel(), config.image_size, config.image_size)
    given = GivenLogits(network, config.num_images, shape)

    def whole() -> None:
        loss, _ = learner.loss(0.5)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def without_network() -> None:
        own, learner.network = learner.network, given
        loss, _ = learner.loss(0.5)
        loss.backward()
        learner.network = own

    if isinstance(learner, RSSLearner) and learner.memory is not None:
        # Every image comes several times, so that its memory is full.
        rounds = 3 * learner.env.num_images * learner.memory.groups // config.num_images
        for _ in range(rounds // 4):
            without_network()
    return whole, without_network


def measure(config: UpdateCostConfig) -> str:
    """Time everything in turn, and write the tables in Markdown."""
    torch.set_num_threads(config.threads)
    numba.set_num_threads(config.threads)
    pairs = {"psl": _updates(config, "psl", 2)}
    pairs |= {f"rss, K = {k}": _updates(config, "rss", k) for k in config.members}
    steps = {(name, part): f for name, pair in pairs.items() for part, f in enumerate(pair)}
    for _ in range(3):
        for step in steps.values():
            step()
    times: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    for _ in range(config.repeats):
        for key, step in steps.items():
            start = time.perf_counter()
            step()
            times[key].append(1e3 * (time.perf_counter() - start))
    lines = [
        f"{config.num_images} images of {config.image_size}x{config.image_size}, tiny U-Net, "
        f"four scales, {config.threads} threads; {machine()}",
        "",
        "| update | ms, median | least to most | of psl, median of rounds | not the network, ms |",
        "|---|---|---|---|---|",
    ]
    for name in pairs:
        whole, rest = times[name, 0], times[name, 1]
        ratio = statistics.median(a / b for a, b in zip(whole, times["psl", 0], strict=True))
        lines.append(
            f"| {name} | {statistics.median(whole):.1f} | {min(whole):.1f} to {max(whole):.1f} "
            f"| {ratio:.3f} | {statistics.median(rest):.1f} |"
        )
    for members in config.members:
        lines += ["", *_profile(pairs[f"rss, K = {members}"][1], members, config.repeats)]
    return "\n".join(lines)


def _profile(update: Callable[[], None], members: int, repeats: int) -> list[str]:
    """A table of where the time goes that is not the network's."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(repeats):
        update()
    profile.disable()
    seconds: dict[str, float] = {}
    for (_, _, function), (_, _, _, cumulative, _) in vars(pstats.Stats(profile))["stats"].items():
        for name in _PARTS:
            if f" {name} " in f" {function.replace(chr(39), ' ')} ":
                seconds[name] = seconds.get(name, 0.0) + cumulative
    lines = [f"| not the network, K = {members} | ms |", "|---|---|"]
    for name, meaning in _PARTS.items():
        lines.append(f"| {meaning} | {1e3 * seconds[name] / repeats:.2f} |")
    return lines


def main() -> None:
    """Measure, print, and write the file if one is named."""
    config = tyro.cli(UpdateCostConfig, prog="benchmarks.update_cost")
    text = measure(config)
    print(text)
    if config.out is not None:
        config.out.write_text(f"# What an update costs\n\n{text}\n")


if __name__ == "__main__":
    main()
