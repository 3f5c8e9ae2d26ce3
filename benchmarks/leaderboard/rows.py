"""Rows of the leaderboard, as files: measured from weights, or published before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.leaderboard.runs import AlgorithmRun
from benchmarks.leaderboard.statistics import interval
from benchmarks.leaderboard.tracks import Track
from benchmarks.learning.evidence import RESULTS, check_seeds, seeds_needed
from rss_env.errors import InputError
from rss_env.scenes import Scenes
from rss_env.split_pass import reference_scores
from rss_env.whole_files import replace_file

PUBLISHED = RESULTS / "leaderboard"
_ROWS = "rows"


@dataclass(frozen=True)
class Row:
    """One algorithm on one track.

    Attributes:
        name: As the table calls it.
        algo: Entry, or `module:class`.
        settings: What it was made with.
        track: Suite, queries, what is told, and level.
        seeds: Of the runs; the lists below are in their order.
        miou: On the validation split, of the answers of the saved weights.
        normalised: The same from 0, the split's most frequent class, to 1, its labels.
        pixel_accuracy: Likewise of the split.
        score_queries: Scores that were asked for, as the environment counted them.
        seconds: That learning took.
        interval: Ends of the 95% interval of the mean mIoU.
        threads: Of each run.
        machine: Where it ran.
        versions: Of the libraries.
        commit: Of this repository.
        weights: SHA-256 of the weights of each run.
        tuning: Whether it is a try, and no result.
    """

    name: str
    algo: str
    settings: dict[str, Any]
    track: dict[str, Any]
    seeds: list[int]
    miou: list[float]
    normalised: list[float]
    pixel_accuracy: list[float]
    score_queries: list[int]
    seconds: list[float]
    interval: list[float]
    threads: int
    machine: str
    versions: dict[str, str]
    commit: str
    weights: list[str]
    tuning: bool

    @classmethod
    def measure(cls, runs: Sequence[AlgorithmRun], scenes: Scenes, *, tuning: bool) -> Row:
        """The row of runs that are done: their weights answer for the scenes.

        Raises:
            InputError: If weights or records cannot be used, or a run asked for too many scores.
        """
        first, records = runs[0], [run.record() for run in runs]
        for run, record in zip(runs, records, strict=True):
            if record["score_queries"] > run.track.queries:
                raise InputError(
                    f"{run.folder} asked for {record['score_queries']:,} scores, the track has "
                    f"{run.track.queries:,}"
                )
        found = [run.evaluate(scenes) for run in runs]
        majority, best = reference_scores(scenes, "miou", 1)
        mious = [round(metrics.miou, 5) for metrics in found]
        span = (best - majority) or 1.0

        def same(name: str) -> str:
            return "; ".join(dict.fromkeys(record[name] for record in records))

        return cls(
            name=first.name,
            algo=first.algo,
            settings=first.settings,
            track=vars(first.track),
            seeds=[run.seed for run in runs],
            miou=mious,
            normalised=[round((m.miou - majority) / span, 5) + 0.0 for m in found],
            pixel_accuracy=[round(metrics.pixel_accuracy, 5) for metrics in found],
            score_queries=[record["score_queries"] for record in records],
            seconds=[record["seconds"] for record in records],
            interval=[round(end, 5) for end in interval(mious)],
            threads=first.threads,
            machine=same("machine"),
            versions=records[0]["versions"],
            commit=same("commit"),
            weights=[run.digest() for run in runs],
            tuning=tuning,
        )

    @property
    def of(self) -> Track:
        """Its track."""
        return Track(**self.track)

    def write(self, folder: Path) -> Path:
        """Write it among the rows of a report, whole or not at all; the file."""
        path = folder / _ROWS / self.of.name / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1) + "\n"
        replace_file(path, lambda part: part.write_text(text))
        return path

    @classmethod
    def read(cls, path: Path) -> Row:
        """Read a row, and check that its seeds make a result.

        Raises:
            InputError: If it is no row, or no result.
        """
        try:
            content = json.loads(path.read_text())
            row = cls(**content)
            numbers = (row.miou, row.normalised, row.score_queries, row.seconds, row.weights)
            if any(len(part) != len(row.seeds) for part in numbers):
                raise TypeError("its lists are not of one length")
            if path.stem != row.name or path.parent.name != row.of.name:
                raise TypeError(f"it is the row {row.name} of {row.of.name}")
        except (json.JSONDecodeError, TypeError) as error:
            names = ", ".join(part.name for part in fields(cls))
            raise InputError(f"{path} is no row: {error}; needed: {names}") from None
        if not row.tuning:
            needed = seeds_needed(row.of.suite, row.name)
            check_seeds(f"{path}: {row.of.suite} {row.name}", row.seeds, needed)
        return row


def load_rows(folder: Path, *, tuning: bool = True) -> list[Row]:
    """All rows of a report, by track and name; without tunings if they are not asked for.

    Raises:
        InputError: If a file is no row, or its seeds make no result.
    """
    rows = [Row.read(path) for path in sorted((folder / _ROWS).glob("*/*.json"))]
    return [row for row in rows if tuning or not row.tuning]
