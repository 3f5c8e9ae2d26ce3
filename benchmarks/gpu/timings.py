"""Time updates and steps on a device, with nothing else running: `run.sh` starts it.

An update is timed alone (the host waits for the device before and after) and in a row (it waits
once, after many), and the kernels that it starts are counted. A step of the environment is timed in
a row, and set against what the card takes to copy memory.
"""

from __future__ import annotations

import csv
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import tyro
from torch.autograd import DeviceType  # pyright: ignore[reportPrivateImportUsage]
from torch.profiler import ProfilerActivity, profile

from benchmarks.timing import markdown_table
from rss_agents.algorithms.names import Algorithm
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.training.config import TrainConfig
from rss_agents.training.setup import open_run

_UPDATES = 100_000  # of the schedule: more than are timed
_GIGABYTE = 1e9


@dataclass
class TimingsConfig:
    """Time updates and steps on a device."""

    out: Path
    """Folder of the tables and the CSV."""
    device: str = "cuda"
    """What is timed."""
    quick: bool = False
    """As little as shows that it runs."""


@dataclass(frozen=True)
class UpdateCase:
    """An update that is timed: a way to learn, and options of `rss-train` beside the defaults."""

    name: str
    algo: Algorithm = "rss"
    options: dict[str, Any] = field(default_factory=dict)


def update_cases(quick: bool) -> list[UpdateCase]:
    """The updates, each beside the `psl` it is compared with, which comes before it."""
    tiny = {"image_size": (32,), "num_images": 2, "group_size": 2}
    if quick:
        return [UpdateCase("psl, 32x32", "psl", tiny), UpdateCase("rss, 32x32", "rss", tiny)]
    policy_gradient = RSSConfig(objective="policy_gradient")
    linear = RSSConfig(score_model="linear")
    small = [
        UpdateCase("psl, 64x64", "psl"),
        UpdateCase("rss, K = 8"),
        UpdateCase("rss, K = 32", options={"group_size": 32}),
        UpdateCase("rss, policy gradient", options={"agent": policy_gradient}),
        UpdateCase("rss, linear", options={"agent": linear}),
        UpdateCase("rss, rating:5", options={"feedback": "rating:5"}),
        *(UpdateCase(name, name) for name in ("rloo", "grpo", "ppo")),
    ]
    large = {
        "network": "deeplabv3plus/resnet50@4",
        "image_size": (512,),
        "scales": (32, 16, 8, 4),
        "zoom": (1.0, 1.5),
        "colour_jitter": 0.2,
    }
    half = {**large, "precision": "bfloat16"}
    return [
        *small,
        UpdateCase("psl, DeepLabV3+ R50 @4, 512x512", "psl", large),
        UpdateCase("rss, the same, K = 8", "rss", large),
        UpdateCase("psl, the same in bfloat16", "psl", half),
        UpdateCase("rss, the same in bfloat16", "rss", half),
    ]


def waiting_for(device: torch.device) -> Callable[[], None]:
    """What makes the host wait until the device is done."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


def seconds_alone(action: Callable[[], object], wait: Callable[[], None], repeats: int) -> float:
    """The median time of an action that nothing runs beside."""
    seconds = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        action()
        wait()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def seconds_in_a_row(action: Callable[[], object], wait: Callable[[], None], repeats: int) -> float:
    """The mean time of an action that follows itself, with one wait at the end."""
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    wait()
    return (time.perf_counter() - start) / repeats


def kernels_of(action: Callable[[], object], wait: Callable[[], None]) -> tuple[int, float]:
    """How many kernels an action starts on a CUDA device, and the sum of their own seconds."""
    wait()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        action()
        wait()
    events = [e for e in profiler.key_averages() if e.device_type == DeviceType.CUDA]
    microseconds = sum(event.self_device_time_total for event in events)
    return sum(event.count for event in events), microseconds * 1e-6


def _open_update(
    case: UpdateCase, device: str, folder: Path, capture: bool
) -> Callable[[], object]:
    run = open_run(
        TrainConfig(
            out=folder / "run",
            data=DataConfig("RSS/Shapes-ImageReward-v0"),
            algo=case.algo,
            updates=_UPDATES,
            device=device,
            capture=capture,
            **case.options,
        )
    )
    return lambda: run.update(0.5)


UPDATE_HEADER = (
    *("update", "captured", "alone, ms", "in a row, ms"),
    *("kernels", "busy, ms", "of psl, in a row"),
)


def time_updates(config: TimingsConfig) -> list[tuple[str, ...]]:
    """A row for each update, told kernel by kernel and captured."""
    device = torch.device(config.device)
    wait, repeats = waiting_for(device), 2 if config.quick else 40
    rows, labels = [], dict[bool, float]()
    for case, capture in itertools.product(update_cases(config.quick), (False, True)):
        with tempfile.TemporaryDirectory() as folder:
            update = _open_update(case, config.device, Path(folder), capture)
        for _ in range(2 if config.quick else 15):  # kernels are compiled, memories filled
            update()
        alone = seconds_alone(update, wait, repeats)
        in_a_row = seconds_in_a_row(update, wait, repeats)
        kernels, busy = "", ""
        if device.type == "cuda":
            count, seconds = kernels_of(update, wait)
            kernels, busy = str(count), f"{1e3 * seconds:.2f}"
        if case.algo == "psl":
            labels[capture] = in_a_row
        times = (f"{1e3 * alone:.2f}", f"{1e3 * in_a_row:.2f}")
        ratio = f"{in_a_row / labels[capture]:.2f}"
        rows.append((case.name, "yes" if capture else "no", *times, kernels, busy, ratio))
        print(rows[-1], flush=True)
    return rows


STEP_HEADER = ("scales", "N", "K", "us a step", "million steps/s", "GB/s", "of a copy's")


def time_steps(config: TimingsConfig) -> list[tuple[str, ...]]:
    """A row for each environment; bytes are those of actions, labels and images, read or written.

    Images are read once and written K times, twice over: the last observations and the next ones.
    """
    wait = waiting_for(torch.device(config.device))
    sizes = (16,) if config.quick else (256, 4096, 16384)
    copied = _copy_rate(config.device, 2**20 if config.quick else 2**30)
    rows = []
    for scales in ((8,), (8, 4, 2, 1)):
        for number in sizes:
            for group_size in (1, 8):
                options: Any = {"array": "torch", "device": config.device, "scales": scales}
                env: Any = gym.make_vec(
                    "RSS/Shapes-ImageReward-v0", num_envs=number, group_size=group_size, **options
                )
                env.reset(seed=0)
                geometry = env.unwrapped.geometry
                actions = torch.randint(
                    geometry.num_classes,
                    (number, geometry.num_cells),
                    dtype=torch.uint8,
                    device=config.device,
                )
                for _ in range(2 if config.quick else 10):
                    env.step(actions)
                repeats = 2 if config.quick else 100
                seconds = seconds_in_a_row(lambda e=env, a=actions: e.step(a), wait, repeats)
                image = 3 * geometry.image_size[0] * geometry.image_size[1]
                groups = number // group_size
                tables = sum(env.unwrapped._scenes.label_table(s)[0].nbytes for s in scales)
                moved = actions.nbytes + number * tables + 2 * image * (groups + number)
                rate = moved / seconds
                rows.append(
                    (
                        *(str(scales), str(number), str(group_size), f"{1e6 * seconds:.0f}"),
                        *(f"{number / seconds / 1e6:.2f}", f"{rate / _GIGABYTE:.0f}"),
                        f"{rate / copied:.3f}",
                    )
                )
                print(rows[-1], flush=True)
                env.close()
    return rows


def _copy_rate(device: str, size: int) -> float:
    """Bytes read and written a second where so many bytes are copied on the device."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target, wait = torch.empty_like(source), waiting_for(source.device)
    target.copy_(source)
    return 2 * size / seconds_in_a_row(lambda: target.copy_(source), wait, 20)


def write_rows(
    out: Path, name: str, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Write a table as CSV, and as Markdown for `results.md`."""
    with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    text = f"## {title}\n\n{markdown_table(header, rows)}"
    (out / f"table-{name}.md").write_text(text, encoding="utf-8")


def main(config: TimingsConfig) -> None:
    """Time everything, and write it down."""
    steps = time_steps(config)
    write_rows(config.out, "steps", "Steps of the environment", STEP_HEADER, steps)
    updates = time_updates(config)
    write_rows(config.out, "updates", "Updates", UPDATE_HEADER, updates)


if __name__ == "__main__":
    main(tyro.cli(TimingsConfig, prog="benchmarks.gpu.timings"))
