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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import torch
import tyro
from torch import nn

from benchmarks.timing import markdown_table, publish, time_in_turn
from rss_agents.algorithms.names import Algorithm
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.command_line import DataConfig
from rss_agents.replay.replay_memory import ReplayMemory
from rss_agents.training.config import TrainConfig
from rss_agents.training.optimisation import update_once
from rss_agents.training.setup import open_run

_MS = 1e-3  # seconds

# Where the time goes: what is called in an update, by the name of its function.
_PARTS = {
    "recognise": "images recognised",
    "beliefs": "beliefs: softmax and pooling",
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

    def __init__(self, *shape: int):
        """Random logits of a shape, laid out in memory as the network's are."""
        super().__init__()
        self.logits = nn.Parameter(torch.randn(shape).to(memory_format=torch.channels_last))

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
                num_images=config.num_images,
                group_size=members,
                image_size=(config.image_size,),
            )
        )
    learner, network = run.learner, run.network
    num_classes, body = network.decide.gains.numel(), network.body
    given = GivenLogits(config.num_images, num_classes, config.image_size, config.image_size)

    def whole() -> None:
        update_once(learner, run.optimizer, 0.5)

    def without_network() -> None:
        network.body = given
        loss, _ = learner.loss(0.5)
        loss.backward()
        network.body = body

    memory = learner.objective.memory if isinstance(learner, RSSLearner) else None
    if isinstance(learner, RSSLearner) and isinstance(memory, ReplayMemory):
        # Every image comes twice as often, on average, as its memory has room for.
        for _ in range(2 * learner.env.num_images * memory.groups // config.num_images):
            without_network()
    return whole, without_network


def measure(config: UpdateCostConfig) -> list[str]:
    """Time everything in turn: a table of updates, and one of what is in them for each K."""
    pairs = {"psl": _updates(config, "psl", 2)}
    pairs |= {f"rss, K = {k}": _updates(config, "rss", k) for k in config.members}
    steps = {
        f"{name}, part {part}": f for name, pair in pairs.items() for part, f in enumerate(pair)
    }
    timings = time_in_turn(steps, config.repeats, warm_up=3)
    labels = timings["psl, part 0"]
    rows = []
    for name in pairs:
        whole, rest = timings[f"{name}, part 0"], timings[f"{name}, part 1"]
        rounds = zip(whole.seconds, labels.seconds, strict=True)
        ratio = statistics.median(own / reference for own, reference in rounds)
        rows.append((name, whole.spread(_MS), f"{ratio:.3f}", rest.spread(_MS)))
    header = ("update", "ms: median and quartiles", "of psl, round by round", "not the network, ms")
    parts = [
        f"{config.num_images} images of {config.image_size}x{config.image_size}, tiny U-Net, four "
        "scales, memories filled.\n",
        markdown_table(header, rows),
    ]
    parts += [_profile(pairs[f"rss, K = {k}"][1], k, config.repeats) for k in config.members]
    return parts


def _profile(update: Callable[[], None], members: int, repeats: int) -> str:
    """A table of where the time goes that is not the network's."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(repeats):
        update()
    profile.disable()
    seconds = dict.fromkeys(_PARTS, 0.0)
    for (_, _, function), (_, _, _, cumulative, _) in vars(pstats.Stats(profile))["stats"].items():
        for name in _PARTS:
            if name in function.replace("'", " ").split():
                seconds[name] += cumulative
    rows = [(meaning, f"{seconds[name] / repeats / _MS:.2f}") for name, meaning in _PARTS.items()]
    return markdown_table((f"not the network, K = {members}", "ms, in the profiler"), rows)


def main() -> None:
    """Measure, print, and write the file if one is named."""
    config = tyro.cli(UpdateCostConfig, prog="benchmarks.update_cost")
    torch.set_num_threads(config.threads)
    numba.set_num_threads(config.threads)
    publish("What an update costs", measure(config), config.out)


if __name__ == "__main__":
    main()
