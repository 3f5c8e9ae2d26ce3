"""Runs of an algorithm, one a seed: what is missing learns in processes with pinned threads.

A run leaves its weights, and what the environment counted. What it is worth is measured from the
weights alone, whoever wrote them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from benchmarks.leaderboard.algorithm import checked_prediction, make_algorithm
from benchmarks.leaderboard.tracks import Track, TrackData
from benchmarks.learning.evidence import commit
from rss_agents.networks.evaluation import SplitMetrics, evaluate_maps
from rss_agents.training.logging import versions
from rss_env.errors import BudgetSpentError, InputError
from rss_env.scenes import Scenes

_MODULE = "benchmarks.leaderboard.runs"
_WEIGHTS, _RECORD, _ORDER = "weights.safetensors", "run.json", "order.json"
_LOG, _FAILURE = "log.txt", "failure.txt"
_RECORDED = ("score_queries", "seconds", "threads", "machine", "versions", "commit")


@dataclass(frozen=True)
class AlgorithmRun:
    """One seed of an algorithm on a track.

    Attributes:
        track: The track.
        data: Its files.
        name: Of the row.
        algo: Entry, or `module:class`.
        settings: What the algorithm is made with.
        seed: Of everything.
        threads: Of the process: other numbers of threads give other numbers.
        runs: Folder of all runs.
    """

    track: Track
    data: TrackData
    name: str
    algo: str
    settings: dict[str, Any]
    seed: int
    threads: int
    runs: Path

    @property
    def folder(self) -> Path:
        """Where it is written."""
        return self.runs / self.track.name / self.name / f"seed{self.seed}"

    @property
    def order(self) -> dict[str, Any]:
        """What is run, as it is recorded; without what this machine calls its files."""
        return {
            "track": self.track.name,
            "algo": self.algo,
            "settings": self.settings,
            "seed": self.seed,
            "threads": self.threads,
        }

    @property
    def is_done(self) -> bool:
        """Whether weights of this very run are there."""
        record = self.folder / _RECORD
        if not record.exists() or not (self.folder / _WEIGHTS).exists():
            return False
        return {name: self.record().get(name) for name in self.order} == self.order

    def record(self) -> dict[str, Any]:
        """What was written down of it.

        Raises:
            InputError: If that lacks something, or is no JSON.
        """
        path = self.folder / _RECORD
        try:
            found = json.loads(path.read_text())
            missing = [name for name in _RECORDED if name not in found]
        except (json.JSONDecodeError, TypeError) as error:
            raise InputError(f"{path} is no record of a run: {error}") from None
        if missing:
            raise InputError(f"{path} lacks {', '.join(missing)}")
        return found

    def digest(self) -> str:
        """SHA-256 of the weights."""
        return hashlib.sha256((self.folder / _WEIGHTS).read_bytes()).hexdigest()

    def learn(self) -> None:
        """Learn until the budget is spent, and write the weights; for a process of its own.

        Raises:
            InputError: If the algorithm cannot be made, or its weights cannot be saved.
        """
        torch.set_num_threads(self.threads)
        random.seed(self.seed)
        np.random.seed(self.seed % 2**32)  # noqa: NPY002 (what algorithms may draw from)
        torch.manual_seed(self.seed)
        scenes = self.data.validation_scenes()
        code = commit()  # before: it may change while this learns
        algorithm = make_algorithm(
            self.algo, scenes.num_classes, scenes.image_size, self.seed, self.settings
        )
        env = self.data.environment(self.track, getattr(algorithm, "environment", {}))
        start = time.perf_counter()
        with suppress(BudgetSpentError):  # learning ends there
            algorithm.learn(env, self.track.queries)
        seconds = time.perf_counter() - start
        queries = env.unwrapped.score_queries  # pyright: ignore[reportAttributeAccessIssue]
        weights = {name: part.contiguous().clone() for name, part in algorithm.state_dict().items()}
        save_file(weights, self.folder / _WEIGHTS)
        record = {
            **self.order,
            "score_queries": queries,
            "seconds": round(seconds, 1),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": versions(),
            "commit": code,
        }
        (self.folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n")

    def evaluate(self, scenes: Scenes) -> SplitMetrics:
        """What its weights answer for the validation split.

        Raises:
            InputError: If they cannot be read or are not this algorithm's, or its answers are none.
        """
        algorithm = make_algorithm(
            self.algo, scenes.num_classes, scenes.image_size, self.seed, self.settings
        )
        path = self.folder / _WEIGHTS
        try:
            algorithm.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
            reason = str(error).strip().split("\n")[-1].strip()
            raise InputError(f"{path} holds no weights of {self.algo}: {reason}") from None
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return evaluate_maps(
                scenes,
                lambda images: checked_prediction(
                    algorithm.predict(images), images, scenes.num_classes
                ),
            )
        finally:
            torch.set_num_threads(before)


def learn_missing(runs: Sequence[AlgorithmRun], jobs: int) -> None:
    """Let the runs learn that are not done, several at a time; a failure stops none of the others.

    Raises:
        InputError: If one failed; the others are kept.
    """
    missing = [run for run in runs if not run.is_done]
    for run in missing:
        run.folder.mkdir(parents=True, exist_ok=True)
        for name in (_RECORD, _FAILURE):
            (run.folder / name).unlink(missing_ok=True)
        order = {
            **run.order,
            "name": run.name,
            "track": vars(run.track),
            "data": run.data.as_json(),
        }
        (run.folder / _ORDER).write_text(json.dumps(order))
    shares = [missing[first::jobs] for first in range(min(jobs, len(missing)))]
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        failures = [failure for found in pool.map(_learn_share, shares) for failure in found]
    if failures:
        raise InputError("\n".join(failures))


def _learn_share(runs: Sequence[AlgorithmRun]) -> list[str]:
    """Learn one after the other in one process; a line about each that failed."""
    count, log = str(runs[0].threads), runs[0].folder / _LOG
    pinned = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), count)
    found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", _MODULE, *(str(run.folder) for run in runs)]
    with log.open("w") as file:
        subprocess.run(command, stdout=file, stderr=file, env=os.environ | pinned | found)
    failures = []
    for run in (run for run in runs if not run.is_done):
        reason = run.folder / _FAILURE if (run.folder / _FAILURE).exists() else log
        last = "".join(reason.read_text().strip().splitlines()[-1:])
        failures.append(f"{run.track.name} {run.name} seed {run.seed}: {last} (see {reason})")
    return failures


def main(folders: Sequence[str]) -> None:
    """Learn what is ordered in folders of runs; what fails is told in the folder."""
    for folder in map(Path, folders):
        order = json.loads((folder / _ORDER).read_text())
        parts = {"track": Track(**order.pop("track")), "data": TrackData(**order.pop("data"))}
        try:
            AlgorithmRun(**order, **parts, runs=folder.parents[2]).learn()
        except InputError as error:
            (folder / _FAILURE).write_text(str(error))
        except Exception:  # whatever somebody's code raises
            (folder / _FAILURE).write_text(traceback.format_exc())


if __name__ == "__main__":
    main(sys.argv[1:])
