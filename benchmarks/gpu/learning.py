"""Train on a device and on the CPU, the same seeds side by side: `run.sh` starts it.

A seed is to give the same on every device, beyond rounding. Wall times are those of processes that
share the machine.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.gpu.timings import write_rows

_SECONDS = 110  # a run that takes longer is ended: the others are told all the same
_QUICK = (
    *("--updates", "2", "--eval-every", "2", "--image-size", "32"),
    *("--num-images", "2", "--group-size", "2"),
)
HEADER = ("algorithm", "seed", "device", "mIoU", "less than on the first device", "seconds")


@dataclass
class GpuLearningConfig:
    """Train on a device and on the CPU."""

    out: Path
    """Folder of the table, the CSV and the runs."""
    device: str = "cuda"
    """Beside the CPU."""
    quick: bool = False
    """As little as shows that it runs."""


@dataclass
class Training:
    """A training in a process of its own."""

    algo: str
    seed: int
    device: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, quick: bool, threads: int) -> None:
        """Begin; what it says goes to a log beside its folder."""
        command = [sys.executable, "-m", "rss_agents.train", "--out", str(self.folder)]
        command += ["--env", "RSS/Shapes-ImageReward-v0", "--algo", self.algo]
        command += ["--seed", str(self.seed), "--device", self.device, *(_QUICK if quick else ())]
        limits = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
        with self.folder.with_suffix(".log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | limits, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def miou(self) -> float | None:
        """What it reached; None if it did not."""
        path = self.folder / "result.json"
        return json.loads(path.read_text())["miou"] if path.exists() else None


def trainings_of(config: GpuLearningConfig) -> list[Training]:
    """`rss` on both devices, then `psl` on the first: each seed beside itself."""
    seeds = (100,) if config.quick else (100, 101, 102)
    devices = dict.fromkeys((config.device, "cpu"))
    found = [("rss", seed, device) for seed in seeds for device in devices]
    found += [("psl", seed, config.device) for seed in seeds]
    return [
        Training(algo, seed, device, config.out / f"{algo}-{seed}-{device.replace(':', '-')}")
        for algo, seed, device in found
    ]


def main(config: GpuLearningConfig) -> int:
    """Train all at once, and compare; 1 if one of them has no result."""
    trainings, started = trainings_of(config), time.monotonic()
    threads = max(1, (os.cpu_count() or 1) // len(trainings))
    for training in trainings:
        training.start(config.quick, threads)
    took = dict.fromkeys(map(id, trainings), "")
    most = math.inf if config.quick else _SECONDS
    while time.monotonic() - started < most and not all(took.values()):
        for training in trainings:
            assert training.process is not None
            if not took[id(training)] and training.process.poll() is not None:
                took[id(training)] = f"{time.monotonic() - started:.0f}"
        time.sleep(0.1)
    rows, first = [], {}
    for training in trainings:
        assert training.process is not None
        training.process.kill()
        training.process.wait()
        miou = training.miou()
        shown, less = ("none", "") if miou is None else (f"{miou:.3f}", "")
        before = first.setdefault((training.algo, training.seed), miou)
        if miou is not None and before is not None:
            less = f"{before - miou:.3f}"
        where = (training.algo, str(training.seed), training.device)
        rows.append((*where, shown, less, took[id(training)]))
        print(rows[-1], flush=True)
    write_rows(config.out, "learning", "Learning on Shapes", HEADER, rows)
    return 1 if any(training.miou() is None for training in trainings) else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(tyro.cli(GpuLearningConfig, prog="benchmarks.gpu.learning")))
