"""What a run leaves behind: metrics, curves, pictures, versions."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from PIL import Image
from torch import nn
from torch.utils.tensorboard.writer import SummaryWriter

from rss_env.recorder import Film
from rss_env.rendering import ByteArray, colourise, enlarged, overlay, panel_grid
from rss_env.scenes import SceneBatch, Scenes

_PACKAGES = ("rss-env", "torch", "torchvision", "gymnasium", "numpy", "numba")
_OVERLAY_ROWS = 6


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


class MetricsLog:
    """Writes metrics to `metrics.jsonl` and to TensorBoard, and keeps them for the curve."""

    def __init__(self, folder: Path):
        """Start both files in an existing folder."""
        self._file = (folder / "metrics.jsonl").open("w", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"))
        self.rows: list[dict[str, float]] = []

    def add(self, update: int, queries: int, metrics: Mapping[str, float]) -> None:
        """Record metrics after an update, with the score queries spent so far."""
        row = {"update": update, "score_queries": queries, **metrics}
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            self._board.add_scalar(name, value, update)

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self._board.close()


def draw_curve(rows: list[dict[str, float]], path: Path, title: str) -> None:
    """Plot score and validation mIoU against updates, and against score queries on top."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    series = (
        ("score", "mean score in training", "#0072B2"),
        ("miou", "validation mIoU", "#D55E00"),
    )
    for name, label, colour in series:
        points = [(row["update"], row[name]) for row in rows if name in row]
        if points:
            x, y = zip(*points, strict=True)
            axis.plot(x, y, label=label, color=colour, marker="o" if len(x) < 30 else None)
    axis.set(xlabel="updates", ylabel="score, mIoU", ylim=(0, 1), title=title)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    if rows and rows[-1]["score_queries"]:
        per_update = rows[-1]["score_queries"] / rows[-1]["update"]
        top = axis.twiny()
        top.set_xlim(*(limit * per_update for limit in axis.get_xlim()))
        top.set_xlabel("score queries")
    figure.savefig(path, dpi=120)
    plt.close(figure)


class ValidationPictures:
    """Pictures of a network's predictions for scenes spread over a split, while it trains."""

    def __init__(self, scenes: Scenes):
        """Choose the scenes."""
        count, device = min(_OVERLAY_ROWS, len(scenes)), scenes.images.device
        index = torch.linspace(0, len(scenes) - 1, count, device=device).long()
        batch = SceneBatch(index, torch.zeros_like(index, dtype=torch.bool))
        self._images, self._palette = scenes.observe(batch), scenes.palette
        self._truth: list[list[ByteArray]] = [[image] for image in self._images.cpu().numpy()]
        self._has_labels = scenes.labels is not None
        if self._has_labels:
            labels = scenes.labels_of(batch).cpu().numpy()
            for row, label in zip(self._truth, labels, strict=True):
                row.append(colourise(label, self._palette))
        self._film = Film()

    @torch.no_grad()
    def _predict(self, network: nn.Module) -> list[ByteArray]:
        was_training = network.training
        network.eval()
        maps = network(self._images).argmax(1).to(torch.uint8).cpu().numpy()
        network.train(was_training)
        if self._has_labels:
            return [colourise(class_map, self._palette) for class_map in maps]
        return [
            overlay(row[0], class_map, self._palette)
            for row, class_map in zip(self._truth, maps, strict=True)
        ]

    def add(self, network: nn.Module) -> None:
        """Add what the network predicts now to the film."""
        self._film.add(self._predict(network))

    def save(self, folder: Path, network: nn.Module) -> None:
        """Write `overlay.png`, and `film.gif` and `film.png` if anything was added.

        `overlay.png` has rows of image | label | prediction, or image | prediction without labels;
        the film shows predictions after each validation.
        """
        predictions = self._predict(network)
        rows = [[*row, panel] for row, panel in zip(self._truth, predictions, strict=True)]
        rows = [[enlarged(panel, 192) for panel in row] for row in rows]
        Image.fromarray(panel_grid(rows)).save(folder / "overlay.png")
        if len(self._film):
            self._film.save(folder / "film.gif")
            self._film.save(folder / "film.png")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one move."""
    from agents.checkpoint import write_atomically

    write_atomically(path, json.dumps(content, indent=2) + "\n")
