"""The public leaderboard: our agents, references and SB3, at equal score queries and equal time.

    python -m benchmarks.leaderboard --jobs 2

Every row is trained twice with each seed: until it has asked for as many scores as all others, and
for about as many seconds. How many updates fit into the seconds is what the first training says.
Runs what has no result yet (a benchmark that was interrupted goes on), then writes a table, a CSV
and two figures. How to add a row: docs/leaderboard.md.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tyro
from rliable import library, metrics

from benchmarks.learning.evidence import check_seeds, settled_seeds
from benchmarks.learning.report import draw_curves, heading, write_settings
from benchmarks.learning.runs import Run, run_missing
from benchmarks.learning.suites import SUITES
from benchmarks.learning.untrained import untrained_rows
from rss_agents.command_line import run_command
from rss_agents.networks.evaluation import SplitMetrics
from rss_env.action_maps import default_scales
from rss_env.errors import InputError, check_choice

# Score queries of one update of each row (images x maps of each x scales); 0: learns from labels,
# for as many updates as the first row.
QUERIES_PER_UPDATE = {
    "rss": 16 * 8 * 4,
    "rss-policy-gradient": 16 * 8 * 4,
    "rloo": 16 * 8,
    "sb3-ppo": 8 * 8 * 4,
    "sb3-a2c": 8 * 8 * 4,
    "sb3-ppo-cnn": 64,
    "sb3-a2c-cnn": 64,
    "psl": 0,
}
_DRAWS = 2000  # of the bootstrap
_CURVE_POINTS = 5


@dataclass
class LeaderboardConfig:
    """Train the rows of the leaderboard and write it: a table, a CSV, two figures."""

    suite: str = "shapes"
    """Data set; see benchmarks.learning --list."""
    algos: tuple[str, ...] = tuple(QUERIES_PER_UPDATE)
    """Rows."""
    seeds: tuple[int, ...] = ()
    """Of the runs; by default as many from 100 on as make a result, or, to tune, 0 to 2."""
    tuning: bool = False
    """Try something on any seeds: the page says that it is no result."""
    queries: int = 64_000
    """Score queries of each run at equal queries."""
    seconds: float = 40.0
    """Of each run at equal time."""
    jobs: int = 1
    """Runs at a time."""
    submissions: tuple[Path, ...] = ()
    """Folders of further rows, with seed<number>/result.json each."""
    data_root: Path | None = None
    """Folder of the data sets; by default $RSS_DATA_ROOT."""
    runs: Path = Path("runs/leaderboard")
    """Folder of the runs."""
    out: Path = Path("runs/leaderboard-report")
    """Folder of the report."""
    extra: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One further argument of every run; may be repeated: --extra=--image-size --extra=32."""


Results = dict[str, list[dict[str, Any]]]  # by row, one result.json a seed


def updates_for_queries(algo: str, queries: int) -> int:
    """Updates of a row that ask for so many scores; of labels, as many as the first row's.

    Raises:
        InputError: If the budget is less than one update.
    """
    per_update = QUERIES_PER_UPDATE[algo] or QUERIES_PER_UPDATE["rss"]
    if queries < per_update:
        raise InputError(f"{algo} asks for {per_update} scores an update: queries is {queries}")
    return queries // per_update


def updates_for_seconds(results: Sequence[Mapping[str, Any]], seconds: float) -> int:
    """Updates that fit into so many seconds, by what trainings of the same row took."""
    each = statistics.median(result["seconds"] / result["updates"] for result in results)
    return max(1, round(seconds / each))


def _run(
    config: LeaderboardConfig, seeds: Mapping[str, Sequence[int]], updates: Mapping[str, int]
) -> dict[str, list[Run]]:
    """Train each row for so many updates with each of its seeds, where that is not done.

    Raises:
        InputError: If a run failed; those that did not fail are kept.
    """
    runs = {
        algo: [
            Run(
                config.suite,
                algo,
                seed,
                count,
                config.runs,
                config.data_root,
                ("--eval-every", str(max(1, count // _CURVE_POINTS)), *config.extra),
            )
            for seed in seeds[algo]
        ]
        for algo, count in updates.items()
    }
    failures = run_missing([run for of_algo in runs.values() for run in of_algo], config.jobs)
    if failures:
        raise InputError("\n".join(failures))
    return runs


def _results(runs: Mapping[str, Sequence[Run]]) -> Results:
    return {algo: [run.result() for run in seeds] for algo, seeds in runs.items()}


def read_submission(folder: Path) -> list[dict[str, Any]]:
    """The results of a submitted row.

    Raises:
        InputError: If its seeds make no result, or a result lacks what the table shows.
    """
    files = sorted(folder.glob("seed[0-9]*/result.json"))
    check_seeds(str(folder), [int(file.parent.name[4:]) for file in files])
    results = [json.loads(file.read_text()) for file in files]
    for file, result in zip(files, results, strict=True):
        missing = {"score_queries", "seconds", "miou", "pixel_accuracy"} - result.keys()
        if missing:
            raise InputError(f"{file} lacks {', '.join(sorted(missing))}")
    return results


def add_submissions(
    folders: Sequence[Path], queries: int, seconds: float
) -> tuple[Results, Results]:
    """Submitted rows that keep the budget of queries, and those that keep that of seconds.

    Raises:
        InputError: If one is incomplete, or keeps neither.
    """
    by_queries, by_seconds = {}, {}
    for folder in folders:
        results = read_submission(folder)
        if all(result["score_queries"] <= queries for result in results):
            by_queries[folder.name] = results
        if all(result["seconds"] <= seconds for result in results):
            by_seconds[folder.name] = results
        if folder.name not in by_queries | by_seconds:
            raise InputError(
                f"{folder} takes more than {queries} queries and more than {seconds:g} seconds"
            )
    return by_queries, by_seconds


def intervals(results: Results) -> dict[str, tuple[float, float, float]]:
    """Mean mIoU over the seeds with the ends of its 95% interval.

    Source: percentile bootstrap over runs (Agarwal et al., "Deep reinforcement learning at the edge
    of the statistical precipice", 2021), by their library.
    """
    scores = {
        name: np.array([[result["miou"]] for result in found]) for name, found in results.items()
    }
    found, ends = library.get_interval_estimates(
        scores,
        lambda runs: np.array([metrics.aggregate_mean(runs)]),
        reps=_DRAWS,
        random_state=np.random.RandomState(0),
    )
    return {
        name: (float(found[name][0]), float(ends[name][0, 0]), float(ends[name][1, 0]))
        for name in scores
    }


def table(results: Results, untrained: Mapping[str, SplitMetrics]) -> str:
    """A Markdown table, best row first."""
    estimates = intervals(results)
    lines = [
        "| algorithm | mIoU | 95% interval | by seed | pixel accuracy | score queries | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = []
    for name, found in results.items():
        mean, low, high = estimates[name]
        accuracy = statistics.mean(result["pixel_accuracy"] for result in found)
        queries = round(statistics.mean(result["score_queries"] for result in found))
        seconds = statistics.mean(result["seconds"] for result in found)
        by_seed = " ".join(f"{result['miou']:.3f}" for result in found)
        line = f"| {name} | {mean:.3f} | {low:.3f} to {high:.3f} | {by_seed} | {accuracy:.3f} "
        rows.append((mean, line + f"| {queries:,} | {seconds:.0f} |"))
    for name in ("majority", "random"):
        found = untrained[name]
        rows.append(
            (found.miou, f"| {name} | {found.miou:.3f} | | | {found.pixel_accuracy:.3f} | 0 | 0 |")
        )
    return "\n".join([*lines, *(line for _, line in sorted(rows, reverse=True))])


def draw_board(path: Path, boards: Mapping[str, Results], floor: float) -> None:
    """Draw each row's mean mIoU with its interval, one panel for each budget."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    size = max(len(results) for results in boards.values())
    figure, axes = plt.subplots(
        1, len(boards), figsize=(11, 1.2 + 0.4 * size), squeeze=False, layout="constrained"
    )
    for axis, (title, results) in zip(axes[0], boards.items(), strict=True):
        rows = sorted(intervals(results).items(), key=lambda row: row[1][0])
        means = np.array([row[1] for row in rows])
        errors = np.abs(means[:, 1:] - means[:, :1]).T
        axis.barh([name for name, _ in rows], means[:, 0], xerr=errors, color="#56B4E9", capsize=3)
        axis.axvline(floor, color="#444444", linestyle="--", label="most frequent class")
        axis.set(xlabel="validation mIoU", title=title)
        axis.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _write_csv(path: Path, boards: Mapping[str, Results]) -> None:
    columns = ("updates", "score_queries", "seconds", "miou", "image_miou", "pixel_accuracy")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("budget", "algo", "seed", *columns))
        for budget, results in boards.items():
            for name, found in results.items():
                for number, result in enumerate(found):
                    values = [result.get(column) for column in columns]
                    writer.writerow((budget, name, result.get("seed", number), *values))


def compete(config: LeaderboardConfig) -> None:
    """Run what is missing and write the leaderboard.

    Raises:
        InputError: If a name or a budget is invalid, data is missing, or a run failed; the runs
            that did not fail are kept.
    """
    check_choice("suite", config.suite, SUITES)
    for algo in config.algos:
        check_choice("algos", algo, QUERIES_PER_UPDATE)
    seeds = settled_seeds(config.suite, config.algos, config.seeds, config.out, config.tuning)
    training, validation = SUITES[config.suite].scenes(config.data_root)
    size = validation.image_size
    submitted = add_submissions(config.submissions, config.queries, config.seconds)
    first = _run(
        config, seeds, {algo: updates_for_queries(algo, config.queries) for algo in config.algos}
    )
    at_queries = _results(first)
    second = _run(
        config,
        seeds,
        {algo: updates_for_seconds(found, config.seconds) for algo, found in at_queries.items()},
    )
    budgets = (f"{config.queries:,} score queries", f"about {config.seconds:g} seconds")
    found = (at_queries | submitted[0], _results(second) | submitted[1])
    # A budget that nobody keeps has no board: submissions alone may all take longer.
    boards = {budget: rows for budget, rows in zip(budgets, found, strict=True) if rows}
    if not boards:
        raise InputError("there is no row: give --algos or --submissions")
    untrained = untrained_rows(training, validation, default_scales(size))
    stem = config.suite
    text = heading(
        "benchmarks.leaderboard",
        f"Leaderboard: {config.suite}, {size[0]} pixels",
        [run for found in (first, second) for of_algo in found.values() for run in of_algo],
        f"{stem}-settings.json, but for the updates, which the CSV has",
        tuning=config.tuning,
    )
    for budget, results in boards.items():
        text += f"## At {budget}\n\n{table(results, untrained)}\n\n"
    config.out.mkdir(parents=True, exist_ok=True)
    _write_csv(config.out / f"{stem}.csv", boards)
    write_settings(config.out / f"{stem}-settings.json", first)
    draw_board(config.out / f"{stem}-board.png", boards, untrained["majority"].miou)
    draw_curves(config.out / f"{stem}-curves.png", first, f"{config.suite}, at {budgets[0]}")
    (config.out / f"{stem}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    run_command("benchmarks.leaderboard", LeaderboardConfig, compete, None)
