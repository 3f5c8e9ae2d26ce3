"""What the figures of the documentation have in common: colours, panels, saving.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any common
kind of colour vision tell apart; lines differ in their markers and dashes as well. Figures bring a
background of their own, so that they read the same on light and on dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

IMAGES = Path(__file__).parents[1] / "images"

BACKGROUND = "#ffffff"
INK = "#222222"
# In the order of the classes of Shapes: background, disc, square, triangle, cross, ring.
CLASS_COLOURS = ("#e6e6e6", "#0072b2", "#e69f00", "#009e73", "#8b2500", "#cc79a7")
LINES = (
    {"color": "#0072b2", "linestyle": "-", "marker": "o"},
    {"color": "#d55e00", "linestyle": "--", "marker": "s"},
    {"color": "#009e73", "linestyle": ":", "marker": "^"},
    {"color": "#a0527a", "linestyle": "-.", "marker": "D"},
)
DPI = 110

_SETTINGS: dict[str, Any] = {
    "font.size": 10,
    "figure.facecolor": BACKGROUND,
    "axes.facecolor": BACKGROUND,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def new_figure(
    rows: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of so many inches, and its axes (rows, columns)."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    settings: Any = mpl.rcParams  # (its keys have a type that no dictionary of ours has)
    settings.update(_SETTINGS)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)


def palette() -> np.ndarray:
    """Colours of the classes, (C, 3) uint8."""
    return np.array([[round(255 * part) for part in to_rgb(c)] for c in CLASS_COLOURS], np.uint8)


def show(axes: Axes, picture: np.ndarray, title: str, grid: tuple[int, int] | None = None) -> None:
    """Show a picture (H, W, 3), with the lines of a grid of cells over it."""
    height, width = picture.shape[:2]
    axes.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    if grid is not None:
        rows, columns = grid
        lines = {"color": BACKGROUND, "linewidth": 0.5}
        for y in range(1, rows):
            axes.axhline(y * height / rows, **lines)
        for x in range(1, columns):
            axes.axvline(x * width / columns, **lines)


def class_legend(figure: Figure, names: Sequence[str]) -> None:
    """Names of the classes below a figure."""
    handles = [
        Patch(facecolor=colour, edgecolor=INK, linewidth=0.5, label=name)
        for colour, name in zip(CLASS_COLOURS, names, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names), frameon=False)


def save(figure: Figure, path: Path) -> None:
    """Write a figure and let go of it."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
