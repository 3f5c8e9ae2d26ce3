"""The public leaderboard: anybody's algorithm, under the same budget of scores.

    python -m benchmarks.leaderboard --algo my_package:MyAgent --suite shapes --queries 64000

Lets the seeds learn that have not (a benchmark that was interrupted goes on), measures the saved
weights, writes the row beside those that were published, and shows the page. How to write an
algorithm: docs/leaderboard.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.leaderboard.algorithm import load_algorithm, make_algorithm, parse_settings
from benchmarks.leaderboard.entries import ENTRIES
from benchmarks.leaderboard.page import page, write_report
from benchmarks.leaderboard.rows import PUBLISHED, Row, load_rows
from benchmarks.leaderboard.runs import AlgorithmRun, learn_missing
from benchmarks.leaderboard.tracks import Track, TrackData
from benchmarks.learning.evidence import settled_seeds
from rss_agents.command_line import FilesConfig, run_command
from rss_env.errors import InputError, check_value


@dataclass
class LeaderboardConfig:
    """Give algorithms their rows on a track of the leaderboard, and write its page."""

    algo: tuple[str, ...] = ()
    """Algorithms: entries (see --list), or module:class of your own. None: write the page alone."""
    suite: str = "shapes"
    """Data: shapes, camvid and others of benchmarks.learning --list; or folder, with --images,
    --labels, --classes and --val-split."""
    queries: int = 64_000
    """Budget of scores: maps, each times its scales. Tables have 1000, 10000 and 64000."""
    told: Literal["image", "scales", "cells", "ranking"] = "scales"
    """What is told of a map: one reward; also a score of each scale; a reward of each cell; or only
    the order of the maps of an image."""
    level: str | None = None
    """Of the environment id, RSS/<Dataset>-<Level>-v0: how an episode goes. None: one step, of the
    level that --told needs."""
    settings: tuple[str, ...] = ()
    """What the algorithm is made with, as name=value: entropy=0.1 scales=[1]."""
    name: str | None = None
    """Of the row; by default that of the entry, or of the class. For one algorithm."""
    seeds: tuple[int, ...] = ()
    """Of the runs; by default as many from 100 on as make a result, or, to tune, 0 to 2."""
    tuning: bool = False
    """Try something on any seeds: the page says that it is no result."""
    threads: int = 1
    """Of each run. Other numbers of threads give other numbers: tables have 1."""
    jobs: int = 1
    """Runs at a time."""
    data_root: Path | None = None
    """Folder of the data sets; by default $RSS_DATA_ROOT."""
    files: tyro.conf.OmitArgPrefixes[FilesConfig] = field(default_factory=FilesConfig)
    split: str | None = None
    """Suite folder: list file or name of the training split."""
    val_split: str | None = None
    """Suite folder: list file or name of the split that answers are measured on."""
    image_size: tuple[int, ...] | None = None
    """Suite folder: one side, or height and width of the images in pixels."""
    runs: Path = Path("runs/leaderboard")
    """Folder of the runs; runs of somebody else are measured anew, from their weights."""
    out: Path = Path("runs/leaderboard-report")
    """Folder of the report: rows, page and figures."""
    published: Path = PUBLISHED
    """Report whose rows are shown beside these, without being run."""
    list: bool = False
    """Show the entries, and stop."""


def _name_of(config: LeaderboardConfig, algo: str) -> str:
    name = config.name or algo.rpartition(":")[2]
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name[0] == ".":
        raise InputError(f"name must be of letters, digits, dots and dashes, got {name!r}")
    return name


def _runs_of(config: LeaderboardConfig, track: Track, data: TrackData) -> list[list[AlgorithmRun]]:
    """The runs of each algorithm, checked before anything runs."""
    check_value(config.threads >= 1, "threads", "at least 1", config.threads)
    check_value(config.jobs >= 1, "jobs", "at least 1", config.jobs)
    if config.name is not None and len(config.algo) != 1:
        raise InputError(f"--name is for one algorithm, got {len(config.algo)}")
    names = {algo: _name_of(config, algo) for algo in config.algo}
    if len({*names.values()}) < len(config.algo):
        raise InputError(f"rows need different names, got {', '.join(names.values())}")
    settings = parse_settings(config.settings)
    for algo in config.algo:
        load_algorithm(algo)
    seeds = settled_seeds(track.suite, [*names.values()], config.seeds, config.out, config.tuning)
    return [
        [
            AlgorithmRun(track, data, name, algo, settings, seed, config.threads, config.runs)
            for seed in seeds[name]
        ]
        for algo, name in names.items()
    ]


def compete(config: LeaderboardConfig) -> None:
    """Give the algorithms their rows, and write the page.

    Raises:
        InputError: If a name or a budget is invalid, data is missing, or a run failed; the runs
            that did not fail are kept.
    """
    if config.list:
        for name, where in ENTRIES.items():
            print(f"{name:22}{where}")
        return
    known = load_rows(config.published, tuning=False)
    if config.algo:
        track = Track.of(config.suite, config.queries, config.told, config.level)
        data = TrackData.of(
            track,
            config.data_root,
            config.files,
            (config.split, config.val_split),
            config.image_size,
        )
        runs = _runs_of(config, track, data)
        scenes = data.validation_scenes()
        for first, *_ in runs:
            made = make_algorithm(
                first.algo, scenes.num_classes, scenes.image_size, first.seed, first.settings
            )
            data.environment(track, getattr(made, "environment", {})).close()
        learn_missing([run for of_algo in runs for run in of_algo], config.jobs)
        for of_algo in runs:
            Row.measure(of_algo, scenes, tuning=config.tuning).write(config.out)
    mine = load_rows(config.out)
    of_mine = {(row.of, row.name) for row in mine}
    rows = [row for row in known if (row.of, row.name) not in of_mine] + mine
    write_report(config.out, rows)
    print(page(rows))


if __name__ == "__main__":
    run_command("benchmarks.leaderboard", LeaderboardConfig, compete, None)
