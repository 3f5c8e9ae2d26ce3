"""Training runs as processes: those that are missing are run, several at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.learning.evidence import commit
from benchmarks.learning.suites import SUITES, VARIANTS
from rss_agents.command_line import DataConfig

_FILES = ("root", "images", "labels", "classes")
_PLACES = ("split", "val_split", "exclude", "start_from")
_RECORD = "run.json"  # the arguments and the commit of a run that has ended


@dataclass(frozen=True)
class Run:
    """One training run of a comparison.

    Attributes:
        suite, variant: Names.
        seed: Of the weights, the images and the maps drawn.
        updates: Number of updates.
        runs: Folder of all runs.
        data_root: Folder of the data sets.
        extra: Further arguments of `rss-train`, the same for all.
    """

    suite: str
    variant: str
    seed: int
    updates: int
    runs: Path
    data_root: Path | None
    extra: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is written."""
        return self.runs / self.suite / f"{self.updates}" / self.variant / f"seed{self.seed}"

    @property
    def data(self) -> DataConfig:
        """Its data."""
        return SUITES[self.suite].data(self.data_root, VARIANTS[self.variant].level)

    @property
    def data_arguments(self) -> list[str]:
        """The arguments of `rss-train` that say which data, but for its splits."""
        options = self.data.options.items()
        return ["--env", self.data.env, *(part for n, v in options for part in (f"--{n}", v))]

    @property
    def arguments(self) -> list[str]:
        """The arguments of `rss-train`, without the output folder."""
        suite = SUITES[self.suite]
        training, validation = suite.splits(self.data_root)
        splits = [] if training is None else ["--split", training, "--val-split", validation]
        return [
            *(*self.data_arguments, *splits, "--image-size", *map(str, suite.size)),
            *suite.arguments,
            *VARIANTS[self.variant].arguments,
            *VARIANTS[self.variant].scorer_arguments(self.suite),
            *("--seed", str(self.seed), "--updates", str(self.updates)),
            *self.extra,
        ]

    @property
    def is_done(self) -> bool:
        """Whether its result is there, of these very arguments."""
        return (self.folder / "result.json").exists() and (
            self._recorded().get("arguments") == self.arguments
        )

    @property
    def commit(self) -> str:
        """Of the code that was run."""
        return self._recorded()["commit"]

    @property
    def threads(self) -> int | None:
        """Of the process that it ran in; None for runs before that was recorded."""
        return self._recorded().get("threads")

    def record(self, code: str, threads: int) -> None:
        """Note that it ran, with what, at which commit and on how many threads; `is_done` then."""
        content = {"arguments": self.arguments, "commit": code, "threads": threads}
        (self.folder / _RECORD).write_text(json.dumps(content))

    def forget(self) -> None:
        """Make it one that has to be run."""
        (self.folder / _RECORD).unlink(missing_ok=True)

    def _recorded(self) -> dict[str, Any]:
        path = self.folder / _RECORD
        return json.loads(path.read_text()) if path.exists() else {}

    def rows(self) -> list[dict[str, Any]]:
        """What was measured at every validation after the first update.

        Not before it: earlier versions did not measure that, and their runs are reused.
        """
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if "miou" in row and row["update"] > 0]

    def result(self) -> dict[str, Any]:
        """The content of its `result.json`."""
        return json.loads((self.folder / "result.json").read_text())

    def settings(self) -> dict[str, Any]:
        """All options of `rss-train`, but the seed and the folders of this machine."""
        options = json.loads((self.folder / "config.json").read_text())
        for part, names in ((options, _PLACES), (options.get("data") or {}, _FILES)):
            for name in names:
                if part.get(name) is not None:
                    part[name] = Path(part[name]).name
        return {name: value for name, value in options.items() if name not in ("seed", "out")}


def _train(run: Run, threads: int) -> str | None:
    """Train in a process of its own; what it said last if it failed."""
    run.folder.mkdir(parents=True, exist_ok=True)
    run.forget()
    code_run = commit()  # before: the code may change while it trains
    command = [sys.executable, "-m", "rss_agents.train", *run.arguments]
    command += ["--out", str(run.folder), "--overwrite"]
    limits = {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    with (run.folder / "log.txt").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=log, env=os.environ | limits).returncode
    if code:
        return _last_said((run.folder / "log.txt").read_text())
    run.record(code_run, threads)
    return None


def _last_said(log: str) -> str:
    """The last line of a log; of a box, in which wrong options are told, all that is said in it."""
    lines = log.strip().splitlines() or ["nothing was said"]
    if not lines[-1].startswith("╰"):
        return lines[-1]
    first = max((n for n, line in enumerate(lines) if line.startswith("╭")), default=-1)
    said = (line.strip("│╭╮╰╯─ ") for line in lines[first + 1 :])
    return " ".join(line for line in said if line)


def run_missing(runs: Sequence[Run], jobs: int) -> list[str]:
    """Train what has no result yet; a failure stops none of the others.

    Args:
        runs: What is wanted.
        jobs: Processes at a time; the cores are shared evenly among them. Other numbers of threads
            give other numbers.

    Returns:
        A line about each failure.
    """
    missing = [run for run in runs if not run.is_done]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    failures: list[str] = []
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(lambda run: (run, _train(run, threads)), missing)
        for run, failure in tqdm(outcomes, total=len(missing), desc="runs", unit="run"):
            if failure is not None:
                failures.append(f"{run.suite} {run.variant} seed {run.seed}: {failure}")
    return failures
