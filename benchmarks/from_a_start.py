"""What scores of unknown formula add to a network that was trained on a few labels.

A network is trained on some labelled images. Then it goes on with scores of the other images, by a
scorer of `benchmarks.scorers` that the agent is told nothing about, and with few of them. mIoU is
that of all validation images, whose labels neither sees. Beside them stands what the labels give
that are there already: as many updates with them, in other views of their images, and no score.

    RSS_DATA_ROOT=data python -m benchmarks.from_a_start --suite camvid --jobs 2 --out report
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.learning.evidence import settled_seeds
from benchmarks.learning.report import heading, write_settings
from benchmarks.learning.runs import Run, run_missing
from benchmarks.learning.suites import SUITES
from rss_agents.algorithms.learned_views_config import LearnedViewsConfig
from rss_agents.command_line import DataConfig, run_command
from rss_env.errors import InputError, check_choice

SCORERS = (
    *("miou", "dice_squared", "boundary_f", "accuracy_boundary"),
    *("person", "preference", "judge"),
)
LABELS = "labels"  # the same labels again, in place of a scorer


@dataclass(frozen=True)
class StartRun(Run):
    """A run on labels alone (variant `start`), or one that goes on from it.

    Attributes:
        labelled: How many images have labels.
        queries: Scores that are asked for.
        start_updates: Number of updates with labels.
    """

    labelled: int = 40
    queries: int = 0
    start_updates: int = 100

    @property
    def folder(self) -> Path:
        """See `Run.folder`."""
        name = "start" if self.variant == "start" else f"{self.variant}-{self.queries}"
        return self.runs / self.suite / name / f"seed{self.seed}"

    @property
    def start(self) -> StartRun:
        """The run that it goes on from."""
        shared = (self.seed, self.start_updates, self.runs, self.data_root, self.extra)
        return StartRun(self.suite, "start", *shared, labelled=self.labelled)

    @property
    def data(self) -> DataConfig:
        """See `Run.data`."""
        return SUITES[self.suite].data(self.data_root)

    def labels(self) -> str:
        """The list of the images with labels, which is written if it is not there."""
        path = self.runs / self.suite / f"labelled{self.labelled}-seed{self.seed}.txt"
        if not path.exists():
            suite = SUITES[self.suite]
            data = self.data.open(suite.splits(self.data_root)[0])
            if not 0 < self.labelled < len(data):
                raise InputError(f"labelled must be in 1..{len(data) - 1}, got {self.labelled}")
            chosen = np.random.default_rng(self.seed).permutation(len(data))[: self.labelled]
            names = [_line_of(suite.dataset, Path(data.name_of(i))) for i in sorted(chosen)]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(names) + "\n")
        return str(path)

    @property
    def arguments(self) -> list[str]:
        """See `Run.arguments`."""
        suite = SUITES[self.suite]
        shared = [*self.data_arguments, "--image-size", *map(str, suite.size), *suite.arguments]
        shared += ["--seed", str(self.seed), "--updates", str(self.updates), *self.extra]
        if self.variant == "start":
            return [*shared, "--algo", "psl", "--split", self.labels()]
        start, often = ("--start-from", str(self.start.folder)), ("--eval-every", "50")
        if self.variant == LABELS:
            seen = LearnedViewsConfig()  # as best maps are
            assert seen.zoom is not None
            zoom = [f"{factor:g}" for factor in seen.zoom]
            views = ("--zoom", *zoom, "--colour-jitter", f"{seen.colour_jitter:g}")
            return [*shared, "--algo", "psl", "--split", self.labels(), *start, *views, *often]
        scorer = f"benchmarks.scorers:{self.suite.replace('-', '_')}_{self.variant}"
        feedback = ["--feedback", "ranking"] if self.variant == "preference" else []
        return [
            *(*shared, "--exclude", self.labels(), *start),
            *("--scorer", scorer, *feedback, "--queries", str(self.queries), *often),
        ]


def _line_of(dataset: str, path: Path) -> str:
    """An image's line in a list of a data set."""
    if dataset == "Cityscapes":
        return "/".join((*path.parts[-3:-1], path.stem.removesuffix("_leftImg8bit")))
    if dataset == "VOC":
        return path.stem
    raise InputError(f"suites of {dataset} have no lists here; valid: of Cityscapes, VOC")


@dataclass
class StartConfig:
    """Measure what scores add to a network that was trained on a few labels."""

    out: Path
    """Folder of the report."""
    suite: str = "camvid"
    """Name of the data; see benchmarks.learning."""
    scorers: tuple[str, ...] = (*SCORERS, LABELS)
    """Kinds of benchmarks.scorers; labels: no scorer, but the labels of the start again."""
    queries: tuple[int, ...] = (2000, 20000)
    """Scores that are asked for."""
    labelled: int = 40
    """Images with labels; which, the seed says."""
    start_updates: int = 100
    """Updates with labels."""
    updates: int = 600
    """Updates with scores."""
    seeds: tuple[int, ...] = ()
    """Seeds; none for as many as make a result."""
    tuning: bool = False
    """A try on seeds below 100: no result."""
    jobs: int = 1
    """Processes at a time."""
    extra: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One further argument of every run; may be repeated: --extra=--group-size --extra=4."""
    runs: Path = Path("runs/from_a_start")
    """Folder of the runs; what is there is not run again."""


def table(runs: Sequence[StartRun]) -> str:
    """A Markdown table: of each scorer and number of scores, the start and what became of it."""
    lines = [
        "| scorer | scores | start | lowest validation less the start | mIoU | of the start "
        "| worst of the start |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, queries in dict.fromkeys((run.variant, run.queries) for run in runs):
        own = [run for run in runs if (run.variant, run.queries) == (name, queries)]
        starts = [run.start.result()["miou"] for run in own]
        ends = [run.result()["miou"] for run in own]
        falls = [
            min(row["miou"] for row in run.rows()) - start
            for run, start in zip(own, starts, strict=True)
        ]
        ratios = [
            end / start if start else math.inf for end, start in zip(ends, starts, strict=True)
        ]
        spread = statistics.stdev(ends) if len(ends) > 1 else 0.0
        lines.append(
            f"| {name} | {queries:,} | {statistics.mean(starts):.3f} | {min(falls):+.3f} "
            f"| {statistics.mean(ends):.3f} ± {spread:.3f} "
            f"| {statistics.mean(ratios):.2f} | {min(ratios):.2f} |"
        )
    return "\n".join(lines) + "\n"


def measure(config: StartConfig) -> None:
    """Run what is missing, and write the page.

    Raises:
        InputError: If an option is invalid, or a run fails.
    """
    check_choice("suite", config.suite, list(SUITES))
    for name in config.scorers:
        check_choice("scorers", name, [*SCORERS, LABELS])
    seeds = settled_seeds(config.suite, ["from-a-start"], config.seeds, config.out, config.tuning)
    runs = [
        StartRun(
            *(config.suite, name, seed, config.updates, config.runs, None),
            extra=config.extra,
            labelled=config.labelled,
            queries=queries,
            start_updates=config.start_updates,
        )
        for name in config.scorers
        for queries in (config.queries if name != LABELS else (0,))
        for seed in seeds["from-a-start"]
    ]
    starts = list({run.start.folder: run.start for run in runs}.values())
    failures = run_missing(starts, config.jobs) or run_missing(runs, config.jobs)
    if failures:
        raise InputError("; ".join(failures))
    config.out.mkdir(parents=True, exist_ok=True)
    settings = f"{config.suite}-from-a-start-settings.json"
    write_settings(config.out / settings, {"start": starts, "scored": runs})
    title = f"{config.suite}: {config.labelled} labels, then scores of unknown formula"
    head = heading("benchmarks.from_a_start", title, runs, settings, tuning=config.tuning)
    (config.out / f"{config.suite}-from-a-start.md").write_text(head + table(runs))
    with (config.out / f"{config.suite}-from-a-start.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("suite", "algo", "queries", "seed", "update", "score_queries", "miou"))
        for run in runs:
            for row in [{"update": 0, "score_queries": 0, **run.start.result()}, *run.rows()]:
                algo = "psl" if run.variant == LABELS else f"rss-of-{run.variant}"
                of = (run.suite, algo, run.queries, run.seed)
                writer.writerow((*of, row["update"], row.get("score_queries", 0), row["miou"]))


def main(arguments: list[str] | None = None) -> None:
    """Entry point."""
    run_command("benchmarks.from_a_start", StartConfig, measure, arguments)


if __name__ == "__main__":
    main()
