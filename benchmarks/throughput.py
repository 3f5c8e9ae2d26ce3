"""How fast does the environment step, and is it ever the bottleneck of training?

    python -m benchmarks.throughput

Steps the native vector environment, Gymnasium's `SyncVectorEnv` of singles and the two faces of the
scoring kernel side by side in one run, after a warm-up, and prints medians with their spread. The
machine is as noisy as it is: read the ratios.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import tyro

from agents.report import versions
from rss_env.kernels.class_counts import class_counts
from rss_env.kernels.label_table import label_table


@dataclass
class ThroughputConfig:
    """Time environment steps and the scoring kernel."""

    num_envs: int = 64
    """Sub-environments."""
    repeats: int = 15
    """Timed rounds of everything, in turn."""


def environment_steppers(num_envs: int) -> dict[str, tuple[Callable[[], object], int]]:
    """What to time, by name: a step of an environment, and how many episodes it is."""
    steppers: dict[str, tuple[Callable[[], object], int]] = {}
    for scales in ((8,), (8, 4, 2, 1)):
        for mode in ("vector_entry_point", "sync"):
            vector = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
            env = gym.make_vec(
                "RSS/Shapes-ImageReward-v0",
                num_envs=num_envs,
                vectorization_mode=mode,
                vector_kwargs=vector if mode == "sync" else None,
                scales=scales,
                num_scenes=256,
            )
            env.reset(seed=0)
            actions = env.action_space.sample()
            name = "native" if mode == "vector_entry_point" else "SyncVectorEnv of singles"
            steppers[f"{name}, scales {scales}"] = (
                lambda env=env, actions=actions: env.step(actions),
                num_envs,
            )
    return steppers


def kernel_steppers() -> dict[str, tuple[Callable[[], object], int]]:
    """What to time, by name: counting 128 maps of 21 classes, and how many cells that is."""
    random = np.random.default_rng(0)
    labels = torch.from_numpy(random.integers(0, 21, (16, 128, 128), dtype=np.uint8))
    index, mirrored = torch.arange(16), torch.zeros(16, dtype=torch.bool)
    steppers: dict[str, tuple[Callable[[], object], int]] = {}
    for scale in (1, 4):
        table = label_table(labels, 21, scale)
        cells = (128 // scale) ** 2
        maps = torch.from_numpy(random.integers(0, 21, (16, 8, cells), dtype=np.uint8))
        for face in ("numba", "reference"):
            arguments = (maps, table, index, mirrored, 128 // scale, 21)
            steppers[f"class counts, {face}, cells of {scale}x{scale}"] = (
                lambda arguments=arguments, face=face: class_counts(
                    *arguments, implementation=face
                ),
                maps.numel(),
            )
    return steppers


def time_in_turn(
    steppers: dict[str, tuple[Callable[[], object], int]], repeats: int
) -> dict[str, list[float]]:
    """Items per second of each, measured in turn so that drift of the machine hits all alike."""
    rates: dict[str, list[float]] = {name: [] for name in steppers}
    for step, _ in steppers.values():
        step()
    for _ in range(repeats):
        for name, (step, items) in steppers.items():
            start = time.perf_counter()
            step()
            rates[name].append(items / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Measure and print."""
    config = tyro.cli(ThroughputConfig)
    for title, steppers in (
        ("episodes per second", environment_steppers(config.num_envs)),
        ("cells per second", kernel_steppers()),
    ):
        print(f"\n{title:46}{'median':>14}{'least':>14}{'most':>14}")
        for name, rates in time_in_turn(steppers, config.repeats).items():
            row = (statistics.median(rates), min(rates), max(rates))
            print(f"{name:46}" + "".join(f"{rate:14,.0f}" for rate in row))
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(known)


if __name__ == "__main__":
    main()
