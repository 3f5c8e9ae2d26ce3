"""What does Stable-Baselines3's interface cost, and what does one batched distribution save?

    python -m benchmarks.sb3_throughput

Steps the adapter, SB3's `DummyVecEnv` of singles and the native vector environment, and times the
batched categorical distribution beside SB3's own, in turn in one run after a warm-up. Prints
medians with their spread, and the ratios that matter.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import tyro
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.timing import markdown_table, publish, time_in_turn
from rss_agents.sb3 import MapCategoricalDistribution, make_sb3_env

Steppers = dict[str, tuple[Callable[[], object], int]]

_ID = "RSS/Shapes-ImageReward-v0"
_SCALES = ((8,), (8, 4, 2, 1))
_OWN, _NATIVE, _SB3 = "adapter", "native", "DummyVecEnv of singles"
_KINDS = (MapCategoricalDistribution.__name__, MultiCategoricalDistribution.__name__)


@dataclass
class SB3ThroughputConfig:
    """Time steps of the adapter and the batched distribution."""

    num_envs: int = 64
    """Sub-environments, and maps in a batch."""
    cells: int = 1360
    """Of the distributions' action map."""
    classes: int = 6
    """Of each cell."""
    repeats: int = 21
    """Timed rounds of everything, in turn."""
    out: Path | None = None
    """File to write the tables to."""


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


def _report(title: str, steppers: Steppers, repeats: int, ratios: Sequence[tuple[str, str]]) -> str:
    """Time everything in turn: a table of rates, and the ratios of times, round by round."""
    found = time_in_turn({name: step for name, (step, _) in steppers.items()}, repeats)
    rows = []
    for name, timing in found.items():
        rows.append((name, timing.spread(1e-3), f"{steppers[name][1] / timing.median:,.0f}"))
    lines = [markdown_table((title, "ms: median and quartiles", "per second"), rows)]
    for one, other in ratios:
        # of each round by itself, so that what slows the machine down slows both alike
        rounds = zip(found[other].seconds, found[one].seconds, strict=True)
        quotients = [slow / fast for slow, fast in rounds]
        lines.append(
            f"{one} is {statistics.median(quotients):.2f} times as fast as {other} "
            f"({min(quotients):.2f} to {max(quotients):.2f}).\n"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the file if one is named."""
    config = tyro.cli(SB3ThroughputConfig, prog="benchmarks.sb3_throughput")
    parts = []
    for scales in _SCALES:
        steppers = environment_steppers(config.num_envs, scales)
        pairs = [(_OWN, _SB3), (_OWN, _NATIVE)]
        parts.append(_report(f"episodes, scales {scales}", steppers, config.repeats, pairs))
    steppers = distribution_steppers(config.num_envs, config.cells, config.classes)
    title = f"cells of {config.num_envs} maps of {config.cells}"
    parts.append(_report(title, steppers, config.repeats, [_KINDS]))
    publish("Stable-Baselines3's interface", parts, config.out)


if __name__ == "__main__":
    main()
