"""The leaderboard as a page: a table of each track, and figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import numpy as np

from benchmarks.leaderboard.rows import Row
from benchmarks.leaderboard.statistics import THRESHOLDS, profiles
from benchmarks.leaderboard.tracks import Track
from benchmarks.learning.evidence import TUNED

NO_ROWS = "No row has been measured with this version yet.\n"
_HEAD = (
    "# Leaderboard\n\n<!-- Written by python -m benchmarks.leaderboard. -->\n\n"
    "What columns mean, and how to add a row: docs/leaderboard.md.\n\n"
)
_COLUMNS = (
    *("algorithm", "mIoU", "95% interval", "by seed", "normalised", "pixel accuracy"),
    *("score queries", "seconds", "seeds", "threads", "machine", "commit"),
)


def _by_track(rows: Sequence[Row]) -> dict[Track, list[Row]]:
    """Rows of each track, best first."""
    ordered = sorted(rows, key=lambda row: (row.of.name, -statistics.mean(row.miou), row.name))
    return {track: [*found] for track, found in groupby(ordered, key=lambda row: row.of)}


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of the rows of one track, as they are given."""
    lines = [f"| {' | '.join(_COLUMNS)} |", f"|{'---|' * len(_COLUMNS)}"]
    for row in rows:
        low, high = row.interval
        settings = " ".join(f"{name}={value}" for name, value in row.settings.items())
        cells = (
            f"{row.name} ({settings})" if settings else row.name,
            f"{statistics.mean(row.miou):.3f}",
            f"{low:.3f} to {high:.3f}",
            " ".join(f"{miou:.3f}" for miou in row.miou),
            f"{statistics.mean(row.normalised):.3f}",
            f"{statistics.mean(row.pixel_accuracy):.3f}",
            f"{round(statistics.mean(row.score_queries)):,}",
            f"{statistics.mean(row.seconds):.0f}",
            " ".join(map(str, row.seeds)),
            str(row.threads),
            row.machine,
            row.commit,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(rows: Sequence[Row]) -> str:
    """The page of all rows, a section a track."""
    text = _HEAD
    for track, found in _by_track(rows).items():
        note = TUNED if any(row.tuning for row in found) else ""
        figure = f"![{track.title}]({track.name}.png)"
        text += f"## {track.title}\n\n{note}{table(found)}\n\n{figure}\n\n"
    for family in profiled(rows):
        text += f"![Share of runs above a normalised score, {family}](profiles-{family}.png)\n\n"
    return text.rstrip("\n") + "\n" if rows else text + NO_ROWS


def profiled(rows: Sequence[Row]) -> dict[str, dict[str, np.ndarray]]:
    """Normalised scores (runs, suites) of algorithms, by what their tracks have in common.

    Of those that have a row in every suite of it, and as many runs of each as there are of all.
    """
    families: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        families.setdefault(row.of.family, {}).setdefault(row.name, {})[row.of.suite] = row
    found = {}
    for family, algorithms in families.items():
        suites = sorted({suite for of_suite in algorithms.values() for suite in of_suite})
        whole = {name: by for name, by in algorithms.items() if len(by) == len(suites)}
        count = min((len(row.seeds) for by in whole.values() for row in by.values()), default=0)
        if whole:
            found[family] = {
                name: np.array([by[suite].normalised[:count] for suite in suites]).T
                for name, by in whole.items()
            }
    return found


def draw_board(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw each row's mean mIoU with its interval."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.4 * len(rows)), layout="constrained")
    means = np.array([statistics.mean(row.miou) for row in reversed(rows)])
    ends = np.array([row.interval for row in reversed(rows)])
    errors = np.abs(ends - means[:, None]).T
    names = [row.name for row in reversed(rows)]
    axis.barh(names, means, xerr=errors, color="#56B4E9", capsize=3)
    axis.set(xlabel="validation mIoU", title=title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_profiles(path: Path, scores: Mapping[str, np.ndarray], title: str) -> None:
    """Draw the share of runs above each normalised score, with bands, by algorithm."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    colours = plt.get_cmap("tab20")
    shares, bands = profiles(scores)
    for number, (name, share) in enumerate(shares.items()):
        axis.plot(THRESHOLDS, share, color=colours(number), label=name)
        axis.fill_between(THRESHOLDS, *bands[name], color=colours(number), alpha=0.15)
    axis.set(xlabel="normalised score", ylabel="share of runs above it", title=title)
    axis.legend(fontsize="small")
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_report(folder: Path, rows: Sequence[Row]) -> None:
    """Write the page with its figures into a folder: `table.md`, and a PNG a track and a family."""
    folder.mkdir(parents=True, exist_ok=True)
    for track, found in _by_track(rows).items():
        draw_board(folder / f"{track.name}.png", found, track.title)
    for family, scores in profiled(rows).items():
        draw_profiles(folder / f"profiles-{family}.png", scores, family)
    (folder / "table.md").write_text(page(rows))
