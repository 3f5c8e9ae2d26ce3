"""How fast do environments step, what does that consist of, and does it grow in step with N?

    python -m benchmarks.env_throughput --out benchmarks/results/env-throughput.md

Steps the native vector environment beside Gymnasium's `SyncVectorEnv` and `AsyncVectorEnv` of our
singles, a `SyncVectorEnv` of bare environments, and one that scores with `torchmetrics`
(`benchmarks/rival_envs.py`); all reset in the step that ends an episode. Beside them stand the
parts that no step can do without, each timed alone: scores, one gather of the observations, one
pass over the actions; and episodes of several steps, by the cells that are scored in them. Data are
random blocks in files, decoded before anything is timed. Actions are random and valid.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from PIL import Image

import rss_env  # noqa: F401  (registers the ids)
from benchmarks.rival_envs import BareEnv, RivalData, TorchmetricsEnv
from benchmarks.timing import (
    Timing,
    as_words,
    markdown_table,
    publish,
    read_once,
    time_in_turn,
)
from rss_env.kernels.score_maps import action_counts, metric_scores
from rss_env.scene_stream import SceneBatch

_SAME_STEP = AutoresetMode.SAME_STEP


@dataclass(frozen=True)
class Case:
    """Images of one size, with some classes, acted on at some scales.

    Attributes:
        size: Side in pixels.
        classes: C.
        scales: Cell sizes, coarse to fine.
    """

    size: int
    classes: int
    scales: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.size}x{self.size}, {self.classes} classes, scales {self.scales}"


@dataclass
class ThroughputConfig:
    """Time steps of environments."""

    sizes: tuple[int, ...] = (64, 128)
    """Sides of images, in pixels."""
    classes: tuple[int, ...] = (21,)
    """Numbers of classes."""
    scales: tuple[tuple[int, ...], ...] = ((8,), (8, 4, 2, 1))
    """Sets of scales, coarse to fine."""
    num_envs: tuple[int, ...] = (1, 16, 64, 256, 1024, 4096)
    """Sub-environments of the native vector environment."""
    compare_at: int = 256
    """Sub-environments where it is compared with others."""
    slow_envs: int = 16
    """Sub-environments of the slow ones: processes, and torchmetrics."""
    num_images: int = 2048
    """Images of the data set."""
    repeats: int = 15
    """Timed rounds of everything, in turn."""
    out: Path | None = None
    """Markdown file to write."""
    options: dict[str, str] = field(default_factory=dict)
    """Further arguments of the environment, such as a metric."""


def write_data(root: Path, case: Case, count: int) -> dict[str, Any]:
    """Write blocky random images and labels; the arguments of a `Folder` environment."""
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        blocks = random.integers(0, case.classes, (8, 8), dtype=np.uint8)
        labels = blocks.repeat(case.size // 8, 0).repeat(case.size // 8, 1)
        labels[random.random(labels.shape) < 0.05] = 255
        image = random.integers(0, 256, (case.size, case.size, 3), dtype=np.uint8)
        Image.fromarray(image).save(root / "images" / f"{number:05d}.png", compress_level=0)
        Image.fromarray(labels).save(root / "labels" / f"{number:05d}.png")
    return {
        "images": str(root / "images"),
        "labels": str(root / "labels"),
        "classes": case.classes,
        "image_size": case.size,
        "scales": case.scales,
    }


def _groups_of(number: int) -> int:
    """The size of groups to measure beside single maps."""
    return 8 if number % 8 == 0 else 1


def native(number: int, options: dict[str, Any], name: str = "ImageReward") -> Any:
    """Our vector environment, after its first reset."""
    env: Any = gym.make_vec(f"RSS/Folder-{name}-v0", num_envs=number, **options)
    env.reset(seed=0)
    return env


def random_actions(env: Any, case: Case, number: int) -> np.ndarray:
    """(number, cells) int64."""
    cells = env.unwrapped.geometry.num_cells
    return np.random.default_rng(1).integers(0, case.classes, (number, cells))


def parts_of_a_step(env: Any, actions: np.ndarray) -> dict[str, Callable[[], object]]:
    """What no step can do without, to be timed alone; on other scenes each time, as steps are."""
    ours = env.unwrapped
    scenes, geometry = ours._scenes, ours.geometry
    maps = actions.astype(np.uint8)[:, None]
    columns = [columns for _, columns in geometry.grids]
    weights = np.full(len(columns), 1 / len(columns), np.float32)
    random, mirrored = np.random.default_rng(2), np.zeros(len(actions), np.bool_)
    draws = random.integers(0, len(scenes), (64, len(actions)))
    batches = itertools.cycle([SceneBatch(index, mirrored) for index in draws])

    def score() -> object:
        labels = scenes.look_up(next(batches), geometry.scales)
        counts = action_counts(
            maps, labels.tables, labels.index, labels.mirrored, columns, geometry.num_classes
        )
        return metric_scores("miou", counts, labels.class_pixels, labels.index, weights)

    words = as_words(actions)
    return {
        "part: scores": score,
        "part: one gather of observations": lambda: scenes.observe(next(batches)),
        "part: one pass over the actions": lambda: read_once(words),
    }


def compare(case: Case, config: ThroughputConfig, options: dict[str, Any]) -> list[str]:
    """The native environment beside the others, in one run."""
    number, few = config.compare_at, min(config.slow_envs, config.compare_at)
    env = native(number, options)
    actions = random_actions(env, case, number)
    scenes = env.unwrapped._scenes
    geometry = env.unwrapped.geometry
    data = RivalData.of(scenes.images.numpy(), scenes.labels.numpy(), geometry)
    single = partial(gym.make, "RSS/Folder-ImageReward-v0", **options)
    groups = _groups_of(number)
    rivals: dict[str, tuple[Any, int, np.ndarray]] = {
        "native": (env, number, actions),
        "native, uint8 actions": (env, number, actions.astype(np.uint8)),
        f"native, group_size={groups}": (
            native(number, {**options, "group_size": groups}),
            number,
            actions,
        ),
        "SyncVectorEnv of singles": (
            SyncVectorEnv([single] * number, autoreset_mode=_SAME_STEP),
            number,
            actions,
        ),
        "SyncVectorEnv of bare environments": (
            SyncVectorEnv([partial(BareEnv, data)] * number, autoreset_mode=_SAME_STEP),
            number,
            actions,
        ),
        f"AsyncVectorEnv of {few} singles": (
            AsyncVectorEnv([single] * few, autoreset_mode=_SAME_STEP),
            few,
            actions[:few],
        ),
        f"SyncVectorEnv of {few} with torchmetrics": (
            SyncVectorEnv([partial(TorchmetricsEnv, data)] * few, autoreset_mode=_SAME_STEP),
            few,
            actions[:few],
        ),
    }
    calls: dict[str, Callable[[], object]] = {}
    for name, (rival, _, acts) in rivals.items():
        rival.reset(seed=0)
        calls[name] = partial(rival.step, acts)
    calls |= parts_of_a_step(env, actions)
    timings = time_in_turn(calls, config.repeats)
    bound = np.ones(256 * 2**17, np.uint64)  # zeros would share one page
    rate = bound.nbytes / time_in_turn({"read": lambda: read_once(bound)}, 7)["read"].median
    rows = []
    base = timings["native"].median / number
    for name, timing in timings.items():
        count = rivals[name][1] if name in rivals else number
        each = timing.median / count
        rows.append(
            (name, count, timing.spread(count * 1e-6), f"{1 / each:,.0f}", f"{each / base:.2f}")
        )
    least = actions.nbytes + number * case.size**2
    rows.append(
        (
            f"bound: actions and labels read once at {rate / 1e9:.1f} GB/s",
            number,
            f"{1e6 * least / rate / number:.4g}",
            f"{number * rate / least:,.0f}",
            f"{least / rate / number / base:.2f}",
        )
    )
    for rival, _, _ in rivals.values():
        rival.close()
    header = ("what", "N", "µs a sub-environment, median (quartiles)", "steps/s", "time of native")
    return [f"\n## {case}\n", markdown_table(header, rows), _ratios(timings, number, few)]


def _ratios(timings: dict[str, Timing], number: int, few: int) -> str:
    """What the table is made for, in lines."""
    parts = sum(timing.median for name, timing in timings.items() if name.startswith("part"))
    step = timings["native"].median
    sync = timings["SyncVectorEnv of singles"].median
    bare = timings["SyncVectorEnv of bare environments"].median
    metrics = timings[f"SyncVectorEnv of {few} with torchmetrics"].median * number / few
    return (
        f"A native step takes {step / parts:.2f} times its parts. SyncVectorEnv of singles takes "
        f"{sync / step:.1f} times the native step and {sync / bare:.2f} times that of bare "
        f"environments; with torchmetrics it takes {metrics / step:.0f} times the native step.\n"
    )


def growth(case: Case, config: ThroughputConfig, options: dict[str, Any]) -> list[str]:
    """The native step against N, with the straight line through it."""
    calls: dict[str, Callable[[], object]] = {}
    for number in config.num_envs:
        env = native(number, options)
        calls[str(number)] = partial(env.step, random_actions(env, case, number))
    timings = time_in_turn(calls, config.repeats)
    numbers = np.array(config.num_envs, np.float64)
    seconds = np.array([timing.median for timing in timings.values()])
    rows = [
        (name, timing.spread(1e-3), f"{1e6 * timing.median / int(name):.4g}")
        for name, timing in timings.items()
    ]
    parts = [markdown_table(("N", "ms a step, median (quartiles)", "µs a sub-environment"), rows)]
    if len(numbers) > 2:
        slope, start = np.polyfit(numbers, seconds, 1)
        residual = seconds - (start + slope * numbers)
        fit = 1 - residual.var() / seconds.var()
        parts.append(
            f"Straight line: {1e3 * start:.3g} ms + {1e6 * slope:.4g} µs x N, R² = {fit:.4f}.\n"
        )
    return parts


def sequences(case: Case, config: ThroughputConfig, options: dict[str, Any]) -> list[str]:
    """Whole episodes of several steps beside those of one, in groups alike, by the cells scored."""
    number, steps = config.compare_at, len(case.scales)
    groups = _groups_of(number)
    one = native(number, options)
    of_map = one.unwrapped.geometry.cells[-1]
    whole = one.unwrapped.geometry.num_cells
    of_groups = {**options, "group_size": groups}
    of_one = f"one step, group_size={groups}"
    things = {  # with the cells scored in an episode, its steps, and what it is compared with
        "one step": (one, whole, 1, "one step"),
        "Progressive": (native(number, options, "Progressive"), whole, steps, "one step"),
        "Refine": (
            native(number, {**options, "max_steps": steps}, "Refine"),
            (steps + 1) * of_map,  # the first map is scored as well
            steps,
            "one step",
        ),
        of_one: (native(number, of_groups), whole, 1, of_one),
        f"Progressive, group_size={groups}": (
            native(number, of_groups, "Progressive"),
            whole,
            steps,
            of_one,
        ),
    }
    calls: dict[str, Callable[[], object]] = {}
    for name, (env, _, length, _) in things.items():
        high = env.unwrapped.single_action_space.nvec.copy()
        if name == "Refine":
            high[0] -= 1  # it never stops
        actions = np.random.default_rng(1).integers(0, high, (number, len(high)))
        env.reset(seed=0)

        def episode(env: Any = env, actions: np.ndarray = actions, length: int = length) -> None:
            for _ in range(length):
                env.step(actions)

        calls[name] = episode
    timings = time_in_turn(calls, config.repeats)
    rows = []
    for name, timing in timings.items():
        env, cells, length, compared = things[name]
        each = timing.median / cells
        base = timings[compared].median / whole
        spread = timing.spread(number * cells * 1e-9)
        rows.append((name, length, f"{cells:,}", spread, f"{each / base:.2f}"))
        env.close()
    header = (
        "episodes",
        "steps",
        "cells scored",
        "ns a cell, median (quartiles)",
        "of one step, groups alike",
    )
    return [f"\nEpisodes of {number} sub-environments:\n", markdown_table(header, rows)]


def measure(config: ThroughputConfig) -> None:
    """Measure every case, and publish the tables."""
    report: list[str] = []
    for size in config.sizes:
        for classes in config.classes:
            for scales in config.scales:
                case = Case(size, classes, scales)
                with tempfile.TemporaryDirectory() as folder:
                    options = {
                        **write_data(Path(folder) / "data", case, config.num_images),
                        **config.options,
                    }
                    report += compare(case, config, options) + growth(case, config, options)
                    report += sequences(case, config, options)
    publish("Steps of environments", report, config.out)


if __name__ == "__main__":
    measure(tyro.cli(ThroughputConfig))
