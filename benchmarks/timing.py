"""What the benchmarks of speed share: timing things in turn, the memory's bound, tables.

Everything that is compared is timed in one run, in turn, so that the drift of a shared machine hits
all alike. Read the ratios; the absolute numbers are those of the machine and of its other work.
"""

from __future__ import annotations

import datetime
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numba
import numpy as np
import torch

from benchmarks.learning.report import machine


@dataclass(frozen=True)
class Timing:
    """How long one thing took, each time it was done.

    Attributes:
        seconds: Of each round, in order.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds, half of the rounds below and half above."""
        return statistics.median(self.seconds)

    def spread(self, unit: float = 1.0) -> str:
        """The median and the quartiles around it, in multiples of `unit` seconds."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return f"{self.median / unit:.4g} ({low / unit:.4g} to {high / unit:.4g})"


def time_in_turn(
    things: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2
) -> dict[str, Timing]:
    """Time each thing `repeats` times, in turn, after rounds that compile and fill caches.

    Each round has an order of its own: what runs after something that left its caches warm, or
    cold, does not do so always.

    Args:
        things: What to time, by name.
        repeats: Timed rounds of everything.
        warm_up: Rounds beforehand that are not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in things}
    names, shuffler = list(things), random.Random(0)
    for number in range(warm_up + repeats):
        shuffler.shuffle(names)
        for name in names:
            start = time.perf_counter()
            things[name]()
            elapsed = time.perf_counter() - start
            if number >= warm_up:
                seconds[name].append(elapsed)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


@numba.njit(parallel=True, cache=True)
def read_once(words: np.ndarray) -> int:
    """Read every word of an array (uint64) once, on all threads: the least a pass can cost."""
    total = 0
    for i in numba.prange(words.size):
        total += words[i]
    return total


def as_words(array: np.ndarray) -> np.ndarray:
    """The whole words (uint64) of an array's memory."""
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return data[: data.size // 8 * 8].view(np.uint64)


def setting() -> str:
    """The date, the machine, threads, versions and the command, as lines of Markdown."""
    name = getattr(sys.modules["__main__"].__spec__, "name", Path(sys.argv[0]).stem)
    command = " ".join(["python -m", name.removesuffix(".__main__"), *sys.argv[1:]])
    threads = f"{numba.get_num_threads()} threads of numba, {torch.get_num_threads()} of torch"
    today = datetime.date.today().isoformat()
    return f"    {command}\n\n{today}, {threads}, {machine()}\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def publish(title: str, parts: Sequence[str], out: Path | None) -> None:
    """Print a report, and write it to a file if there is one to write to."""
    text = "\n".join([f"# {title}\n", setting(), *parts])
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")


@dataclass
class Operation:
    """One operation and the ways to do it.

    Attributes:
        name: What the table calls it.
        unit: What is counted.
        ways: By name, the call and how many units it does.
        bytes_per_unit: What has to be read and written.
        ours: The way that the others are compared with.
    """

    name: str
    unit: str
    bytes_per_unit: float
    ways: dict[str, tuple[Callable[[], object], int]] = field(default_factory=dict)
    ours: str = "numba"
