"""Compare ways to learn on one data set.

    python -m benchmarks.learning --suite shapes --algos psl rss --jobs 2
    python -m benchmarks.learning --suite shapes --algos rss --tuning --seeds 0 1 2 --jobs 2

Runs what has no result yet (a comparison that was interrupted goes on), and writes a tidy CSV, a
table, curves and a grid of predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.learning.bootstrap import image_counts, paired_ratio_interval
from benchmarks.learning.evidence import settled_seeds
from benchmarks.learning.report import (
    class_table,
    draw_curves,
    draw_grid,
    heading,
    table,
    write_csv,
    write_settings,
)
from benchmarks.learning.runs import Run, run_missing
from benchmarks.learning.suites import GROUPS, SUITES, VARIANTS, expand
from benchmarks.learning.untrained import untrained_rows
from rss_agents.command_line import run_command
from rss_agents.networks.evaluation import SplitMetrics
from rss_env.action_maps import default_scales
from rss_env.errors import InputError, check_choice
from rss_env.scenes import Scenes


@dataclass
class LearningConfig:
    """Compare ways to learn on one data set: a CSV, a table, curves and a grid of predictions."""

    suite: str = "shapes"
    """shapes, horses, coco128, camvid, camvid-11; horses-pretrained, camvid-pretrained; and at
    352x480, for a GPU (--extra=--device --extra=cuda): camvid-360, camvid-360-fpn."""
    algos: tuple[str, ...] = ("headline",)
    """Ways to learn, or groups of them; --list shows both."""
    seeds: tuple[int, ...] = ()
    """Of the runs; by default as many from 100 on as make a result, or, to tune, 0 to 2."""
    tuning: bool = False
    """Try something on any seeds: the page says that it is no result."""
    updates: int | None = None
    """Number of updates of each run; by default the suite's, 600 or 1,500."""
    jobs: int = 1
    """Runs at a time."""
    data_root: Path | None = None
    """Folder of the data sets; by default $RSS_DATA_ROOT."""
    runs: Path = Path("runs/learning")
    """Folder of the runs."""
    out: Path = Path("runs/learning-report")
    """Folder of the report."""
    name: str | None = None
    """Of the report's files; by default the suite's name."""
    extra: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """One further argument of every run; may be repeated: --extra=--group-size --extra=4."""
    list: bool = False
    """Show the suites and the ways to learn with their arguments, and stop."""


def _print_choices() -> None:
    for name, suite in SUITES.items():
        size = "x".join(map(str, suite.size))
        print(f"suite {name:26}{' '.join((suite.dataset, size, *suite.arguments))}")
    for name, variant in VARIANTS.items():
        level = "" if variant.level == "Image" else f"{variant.level}Reward "
        print(f"{name:32}{level}{' '.join(variant.arguments)}")
    for name, members in GROUPS.items():
        print(f"{name:32}= {' '.join(members)}")


def _report(config: LearningConfig, runs: dict[str, list[Run]], scenes: Scenes, text: str) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    stem = config.name or config.suite
    write_settings(config.out / f"{stem}-settings.json", runs)
    write_csv(config.out / f"{stem}.csv", [run for seeds in runs.values() for run in seeds])
    draw_curves(config.out / f"{stem}-curves.png", runs, f"{config.suite}, {scenes.image_size}")
    columns = draw_grid(config.out / f"{stem}-predictions.png", runs, scenes)
    text += f"\n\nColumns of {stem}-predictions.png: {', '.join(columns)}.\n"
    (config.out / f"{stem}.md").write_text(text)
    print(text)


def _interval(runs: dict[str, list[Run]], scenes: Scenes) -> str:
    """The ratio of `rss` to `psl` with its bootstrap interval."""
    counts = {name: [image_counts(run, scenes) for run in runs[name]] for name in ("rss", "psl")}
    low, high = paired_ratio_interval(counts["rss"], counts["psl"])
    return (
        f"\n\n`rss` / `psl`, paired bootstrap over the {len(scenes)} validation images, 95%: "
        f"{low:.3f} to {high:.3f}."
    )


def compare(config: LearningConfig) -> None:
    """Run what is missing and write the report.

    Raises:
        InputError: If a name is unknown, the seeds make no result, data is missing, or a run
            failed; the runs that did not fail are kept.
    """
    if config.list:
        _print_choices()
        return
    check_choice("suite", config.suite, SUITES)
    algos = expand(config.algos)
    updates = SUITES[config.suite].updates if config.updates is None else config.updates
    seeds = settled_seeds(config.suite, algos, config.seeds, config.out, config.tuning)
    training, validation = SUITES[config.suite].scenes(config.data_root)
    runs = {
        name: [
            Run(config.suite, name, s, updates, config.runs, config.data_root, config.extra)
            for s in of_algo
        ]
        for name, of_algo in seeds.items()
    }
    failures = run_missing([run for of_algo in runs.values() for run in of_algo], config.jobs)
    if failures:
        raise InputError("\n".join(failures))
    untrained: dict[str, SplitMetrics] = untrained_rows(
        training, validation, default_scales(validation.image_size)
    )
    text = heading(
        "benchmarks.learning",
        f"{config.suite}: {updates} updates, {'x'.join(map(str, validation.image_size))} pixels",
        [run for of_algo in runs.values() for run in of_algo],
        f"{config.name or config.suite}-settings.json",
        tuning=config.tuning,
    )
    text += f"{table(runs, untrained)}\n\n{class_table(runs)}"
    if {"rss", "psl"} <= runs.keys():
        text += _interval(runs, validation)
    _report(config, runs, validation, text)


if __name__ == "__main__":
    run_command("benchmarks.learning", LearningConfig, compare, None)
