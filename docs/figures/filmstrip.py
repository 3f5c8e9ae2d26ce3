"""Draws what a network answers while it learns from scores. `python docs/figures/filmstrip.py`.

Trains the agent on Shapes with the defaults of `rss-train`, seed 0, which takes some minutes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from figure_style import IMAGES, class_legend, new_figure, palette, save, show
from PIL import Image

from rss_agents.train import train
from rss_agents.training.config import TrainConfig
from rss_env.datasets import open_dataset
from rss_env.rendering import HEAD_HEIGHT

MOMENTS = (1, 2, 3, 4, 6, 8, 12)  # of the twelve at which the network is validated
SCENES = (0, 1, 2, 4)  # of the six that a run's folder shows


def panels_of(path: Path, rows: int, side: int = 128) -> np.ndarray:
    """The pictures (rows, columns, side, side, 3) of a sheet with gaps of 4 pixels."""
    grid = np.asarray(Image.open(path).convert("RGB"))[HEAD_HEIGHT:]
    columns = (grid.shape[1] + 4) // (side + 4)
    starts = [[(r * (side + 4), c * (side + 4)) for c in range(columns)] for r in range(rows)]
    return np.array([[grid[y : y + side, x : x + side] for y, x in row] for row in starts])


def recoloured(picture: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A class map painted in a data set's colours (C, 3), in those of the figures."""
    classes = (picture[..., None, :] == colours).all(-1).argmax(-1)
    return palette()[classes]


def draw(path: Path, updates: int = 600) -> None:
    """Train, and write the figure."""
    dataset = open_dataset("Shapes", split="val")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train(TrainConfig(out=run, updates=updates, eval_every=updates // 12))
        panels = panels_of(run / "film.png", 6)
        truth, film = panels[:, :2], panels[:, 3:]  # without the answers before the first update
        rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    validated = [row for row in rows if "miou" in row and row["update"]]
    figure, axes = new_figure(len(SCENES), 2 + len(MOMENTS), (11, 5.6))
    for row, scene in zip(axes, SCENES, strict=True):
        first = scene == SCENES[0]
        show(row[0], truth[scene, 0], "image" if first else "")
        show(row[1], recoloured(truth[scene, 1], dataset.palette), "label" if first else "")
        for axis, moment in zip(row[2:], MOMENTS, strict=True):
            told = validated[moment - 1]
            title = f"update {told['update']}\nmIoU {told['miou']:.2f}" if first else ""
            show(axis, recoloured(film[scene, moment - 1], dataset.palette), title)
    class_legend(figure, dataset.class_names)
    save(figure, path)


if __name__ == "__main__":
    draw(IMAGES / "filmstrip.png")
