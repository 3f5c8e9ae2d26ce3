"""Draws learning curves from the committed results. `python docs/figures/curves.py`."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from figure_style import IMAGES, LINES, new_figure, save

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "2026-11-27-smooth-activation"
SUITES = {"shapes": "Shapes", "camvid": "CamVid"}
NAMES = {
    "rss": "scores (rss)",
    "psl": "labels (psl)",
}


def read_curves(suite: str) -> dict[str, dict[int, list[float]]]:
    """Validation mIoU of every seed, by algorithm and update."""
    curves: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (RESULTS / f"{suite}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            curves[row["algo"]][int(row["update"])].append(float(row["miou"]))
    return curves


def draw(path: Path) -> None:
    """Write the figure: means over seeds, and bands that span them."""
    figure, axes = new_figure(1, len(SUITES), (1 + 4 * len(SUITES), 3.9))
    for axis, (suite, title) in zip(axes[0], SUITES.items(), strict=True):
        curves = read_curves(suite)
        for (algo, name), line in zip(NAMES.items(), LINES, strict=False):
            if algo not in curves:
                continue
            updates = sorted(curves[algo])
            seeds = np.array([curves[algo][update] for update in updates])
            axis.plot(updates, seeds.mean(1), label=name, markersize=5, **line)
            axis.fill_between(
                updates, seeds.min(1), seeds.max(1), color=line["color"], alpha=0.15, linewidth=0
            )
        axis.set(xlabel="updates", title=title, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("validation mIoU, 8 seeds")
    handles = {
        label: handle
        for axis in axes[0]
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        [handles[name] for name in NAMES.values()],
        list(NAMES.values()),
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    save(figure, path)


if __name__ == "__main__":
    draw(IMAGES / "curves.png")
