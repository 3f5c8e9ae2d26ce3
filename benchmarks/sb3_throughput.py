"""What does Stable-Baselines3's interface cost, and what does one batched distribution save?

    python -m benchmarks.sb3_throughput

Steps the adapter, SB3's `DummyVecEnv` of singles and the native vector environment, and times the
batched categorical distribution beside SB3's own, in turn in one run after a warm-up. Prints
medians with their spread, and the ratios that matter.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
import tyro
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.report import versions
from agents.sb3 import MapCategoricalDistribution, make_sb3_env
from benchmarks.throughput import time_in_turn

Steppers = dict[str, tuple[Callable[[], object], int]]

_ID = "RSS/Shapes-ImageReward-v0"
_SCALES = ((8,), (8, 4, 2, 1))
_OWN, _NATIVE, _SB3 = "adapter", "native", "DummyVecEnv of singles"


@dataclass
class ThroughputConfig:
    """Time steps of the adapter and the batched distribution."""

    num_envs: int = 64
    """Sub-environments, and maps in a batch."""
    cells: int = 1360
    """Of the distributions' action map."""
    classes: int = 6
    """Of each cell."""
    repeats: int = 21
    """Timed rounds of everything, in turn."""


def environment_steppers(num_envs: int, scales: tuple[int, ...]) -> Steppers:
    """What to time, by name: a step of all sub-environments, and how many episodes it is."""
    options: dict[str, Any] = {"scales": scales, "num_scenes": 256}
    native = gym.make_vec(_ID, num_envs=num_envs, **options)
    native.reset(seed=0)
    actions = native.action_space.sample()
    steppers: Steppers = {_NATIVE: (lambda: native.step(actions), num_envs)}
    for name, env in (
        (_OWN, make_sb3_env(_ID, num_envs, **options)),
        (_SB3, DummyVecEnv([lambda: gym.make(_ID, **options)] * num_envs)),
    ):
        env.seed(0)
        env.reset()
        steppers[name] = (lambda env=env: env.step(actions), num_envs)
    return steppers


def distribution_steppers(batch: int, cells: int, classes: int) -> Steppers:
    """What to time, by name: one act and one update's arithmetic, and how many cells it is.

    That is a sample, its log-probability, the entropy, and the gradient of both on the logits.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, cells * classes, generator=generator, requires_grad=True)

    def step(distribution: MultiCategoricalDistribution) -> None:
        logits.grad = None
        distribution.proba_distribution(logits)
        actions = distribution.sample()
        (distribution.log_prob(actions) + distribution.entropy()).sum().backward()

    steppers: Steppers = {}
    for kind in (MapCategoricalDistribution, MultiCategoricalDistribution):
        made = kind([classes] * cells)
        steppers[kind.__name__] = (lambda made=made: step(made), batch * cells)
    return steppers


def _print(title: str, rates: dict[str, list[float]], ratios: list[tuple[str, str]]) -> None:
    print(f"\n{title:46}{'median':>14}{'least':>14}{'most':>14}")
    for name, found in rates.items():
        row = (statistics.median(found), min(found), max(found))
        print(f"{name:46}" + "".join(f"{rate:14,.0f}" for rate in row))
    for one, other in ratios:
        # of each round by itself, so that what slows the machine down slows both alike
        pairs = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
        print(
            f"{one} / {other}: {statistics.median(pairs):.2f} "
            f"({min(pairs):.2f} to {max(pairs):.2f})"
        )


def main() -> None:
    """Measure and print."""
    config = tyro.cli(ThroughputConfig)
    for scales in _SCALES:
        rates = time_in_turn(environment_steppers(config.num_envs, scales), config.repeats)
        title = f"episodes per second, scales {scales}"
        _print(title, rates, [(_OWN, _SB3), (_OWN, _NATIVE)])
    steppers = distribution_steppers(config.num_envs, config.cells, config.classes)
    names = list(steppers)
    title = f"cells per second, {config.num_envs} maps of {config.cells} cells"
    _print(title, time_in_turn(steppers, config.repeats), [(names[0], names[1])])
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(known)


if __name__ == "__main__":
    main()
