"""A comparison's figures: a tidy CSV, a table, learning curves and a grid of predictions."""

from __future__ import annotations

import csv
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import torch
from PIL import Image

from benchmarks.learning.evidence import TUNED
from benchmarks.learning.runs import Run
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.networks.evaluation import SplitMetrics
from rss_agents.networks.names import FILE_NAME
from rss_agents.training.logging import versions
from rss_env.rendering import colourise, enlarged, panel_grid
from rss_env.scenes import SceneBatch, Scenes

_MEASURED = ("update", "score_queries", "miou", "image_miou", "pixel_accuracy")
_GRID_ROWS = 5

RunsByAlgorithm = Mapping[str, Sequence[Run]]  # of one suite, one run a seed


def write_csv(path: Path, runs: Sequence[Run]) -> None:
    """One line for every validation of every run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("suite", "algo", "seed", *_MEASURED))
        for run in runs:
            for row in run.rows():
                values = [round(row[column], 5) for column in _MEASURED]
                writer.writerow((run.suite, run.variant, run.seed, *values))


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def table(runs: RunsByAlgorithm, untrained: Mapping[str, SplitMetrics]) -> str:
    """A Markdown table: by seed, mean, standard deviation, the worst run, and ratios to `psl`.

    Both ratios are to the mean of `psl` on the seeds of the row: of the mean, and of the worst run.
    """
    results = {name: [run.result() for run in seeds] for name, seeds in runs.items()}
    lines = [
        "| algorithm | mIoU by seed | mIoU | worst | of psl | worst of psl | mIoU of images "
        "| pixel accuracy | classes counted | score queries | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_labels = {run.seed: run.result()["miou"] for run in runs.get("psl", ())}

    def ratio(miou: float, seeds: Iterable[int] = by_labels) -> str:
        beside = [by_labels[seed] for seed in seeds if seed in by_labels]
        return f"{miou / statistics.mean(beside):.3f}" if beside else ""

    for name, found in results.items():
        mious = [result["miou"] for result in found]
        seeds = [run.seed for run in runs[name]]
        counted = sorted({result["classes_counted"] for result in found})
        cells = (
            name,
            " ".join(f"{miou:.3f}" for miou in mious),
            _spread(mious),
            f"{min(mious):.3f}",
            ratio(statistics.mean(mious), seeds),
            ratio(min(mious), seeds),
            _spread([result["image_miou"] for result in found]),
            _spread([result["pixel_accuracy"] for result in found]),
            " to ".join(dict.fromkeys(map(str, (counted[0], counted[-1])))),
            f"{found[0]['score_queries']:,}",
            f"{statistics.mean(result['seconds'] for result in found):.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    for name, metrics in untrained.items():
        lines.append(
            f"| {name} | | {metrics.miou:.3f} | | {ratio(metrics.miou)} | "
            f"| {metrics.image_miou:.3f} | {metrics.pixel_accuracy:.3f} "
            f"| {metrics.classes_counted} | | |"
        )
    return "\n".join(lines)


def class_table(runs: RunsByAlgorithm) -> str:
    """A Markdown table of the IoU of each class, the mean over the seeds that count it."""
    results = {name: [run.result()["class_iou"] for run in seeds] for name, seeds in runs.items()}
    lines = [f"| class | {' | '.join(results)} |", f"|---|{'---|' * len(results)}"]
    for class_name in next(iter(results.values()))[0]:
        cells = []
        for found in results.values():
            values = [by_class[class_name] for by_class in found]
            counted = [value for value in values if value is not None]
            cells.append(f"{statistics.mean(counted):.3f}" if counted else "")
        lines.append(f"| {class_name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_settings(path: Path, runs: RunsByAlgorithm) -> None:
    """All options of every algorithm, as JSON."""
    settings = {name: seeds[0].settings() for name, seeds in runs.items()}
    path.write_text(json.dumps(settings, indent=1) + "\n")


def heading(
    module: str,
    title: str,
    runs: Sequence[Run],
    settings: str,
    *,
    tuning: bool,
) -> str:
    """The head of a page: title, seeds, command, date, commits, machine, where the options are.

    Args:
        module: That was run.
        title: Of the page.
        runs: All runs that the page rests on.
        settings: Name of the file that `write_settings` wrote.
        tuning: Whether it is a try, and no result.
    """
    # Where this machine has its folders is nothing to others.
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    command = shlex.join([Path(sys.executable).name, "-m", module, *arguments])
    seeds = sorted({run.seed for run in runs})
    commits = ", ".join(dict.fromkeys(run.commit for run in runs))
    threads = ", ".join(dict.fromkeys(str(run.threads or "unknown") for run in runs))
    return (
        f"# {title}, seeds {' '.join(map(str, seeds))}\n\n    {command}\n\n"
        f"{time.strftime('%Y-%m-%d')}, commit {commits}, {machine()}\n"
        f"Threads of a run: {threads}. Other numbers of threads give other numbers.\n"
        f"All options of every row: {settings}.\n\n{TUNED if tuning else ''}"
    )


def machine() -> str:
    """The machine and the versions, in one line each."""
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{platform.machine()}, {os.cpu_count()} cores\n{known}"


def draw_curves(path: Path, runs: RunsByAlgorithm, title: str) -> None:
    """Validation mIoU against updates and against score queries; bands span the seeds."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    colours = plt.get_cmap("tab20")
    for number, (name, seeds) in enumerate(runs.items()):
        histories = [run.rows() for run in seeds]
        mious = torch.tensor([[row["miou"] for row in rows] for rows in histories])
        for axis, column in zip(axes, ("update", "score_queries"), strict=True):
            x = [row[column] for row in histories[0]]
            if not x[-1]:
                continue  # labels ask for no scores
            axis.plot(x, mious.mean(0), color=colours(number), label=name, marker=".")
            axis.fill_between(x, mious.amin(0), mious.amax(0), color=colours(number), alpha=0.15)
    axes[0].set(xlabel="updates", ylabel="validation mIoU", title=title)
    axes[1].set(xlabel="score queries", xscale="log")
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


@torch.no_grad()
def draw_grid(path: Path, runs: RunsByAlgorithm, scenes: Scenes) -> list[str]:
    """Draw image | label | each algorithm's prediction, of its first seed; names the columns.

    Algorithms whose network is not one of ours leave no checkpoint to predict with: they are left
    out.
    """
    runs = {name: seeds for name, seeds in runs.items() if (seeds[0].folder / FILE_NAME).exists()}
    index = torch.linspace(0, len(scenes) - 1, min(_GRID_ROWS, len(scenes))).long()
    batch = SceneBatch.unvaried(index)
    images = scenes.observe(batch)
    columns = [list(images.numpy())]
    maps = [scenes.labels_of(batch)]
    for seeds in runs.values():
        network, _ = load_checkpoint(seeds[0].folder)
        maps.append(network.predict(images))
    columns += [[colourise(m, scenes.palette) for m in part.numpy()] for part in maps]
    rows = [[enlarged(panel) for panel in row] for row in zip(*columns, strict=True)]
    Image.fromarray(panel_grid(rows)).save(path)
    return ["image", "label", *runs]
