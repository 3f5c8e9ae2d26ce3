"""Traces that a run leaves behind: metrics, curves, pictures, versions."""

from __future__ import annotations

import importlib
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from PIL import Image
from torch.utils.tensorboard.writer import SummaryWriter

from rss_agents.extras import installed_version, require
from rss_agents.files import write_picture
from rss_agents.networks.segmentation_network import Predictor, evaluating
from rss_agents.training.metrics_file import MetricsFile
from rss_agents.training.run_files import BOARD_FOLDER, FILM_NAMES, OVERLAY_NAME
from rss_env.errors import InputError
from rss_env.recorder import Film
from rss_env.rendering import ByteArray, colourise, enlarged, legend_of, outlined, sheet
from rss_env.scenes import SceneBatch, Scenes
from rss_env.whole_files import replace_file

_PACKAGES = ("rss-env", "torch", "torchvision", "gymnasium", "numpy", "numba")
_OVERLAY_ROWS = 6
_SIDE = 192  # pixels of a picture in overlay.png, at least about


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    packages = {package: installed_version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), **packages}


def start_wandb(project: str, name: str, options: Mapping[str, Any]) -> Callable[[], None]:
    """Send a project of Weights & Biases what TensorBoard is told from now on.

    Args:
        project: Its name.
        name: Of the run.
        options: Of the run.

    Returns:
        A function that ends it.

    Raises:
        InputError: If it is not installed, or cannot start: nobody is logged in, for one.
    """
    require("wandb", "Weights & Biases", "wandb")
    wandb = importlib.import_module("wandb")
    try:
        wandb.init(project=project, name=name, config=dict(options), sync_tensorboard=True)
    except Exception as error:  # of whatever its service raises
        raise InputError(
            f"Weights & Biases cannot start: {type(error).__name__}: {str(error)[:300]}"
        ) from None
    return wandb.finish


class MetricsLog:
    """Writes metrics to `metrics.jsonl` and to TensorBoard.

    Attributes:
        file: Of the metrics, with all rows so far.
    """

    def __init__(self, folder: Path, saved: Mapping[str, Any] | None = None):
        """Start both files in an existing folder, or go on with them.

        Args:
            folder: Of the run.
            saved: The state of `metrics.jsonl` to go on from; None to start.

        Raises:
            InputError: If the file is not the one that the state is of.
        """
        self.file = MetricsFile(folder, saved)
        after = int(self.file.rows[-1]["update"]) + 1 if self.file.rows else None
        self._board: SummaryWriter | None = SummaryWriter(
            str(folder / BOARD_FOLDER), purge_step=after
        )

    def add(
        self,
        update: int,
        queries: int,
        metrics: Mapping[str, float],
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """Record metrics after an update, with the score queries spent so far.

        Timings are for TensorBoard alone: equal runs have equal files of metrics.

        Raises:
            OSError: If `metrics.jsonl` cannot be written.
        """
        self.file.add({"update": update, "score_queries": queries, **metrics})
        shown = {**metrics, **(timings or {})}
        self._on_board(lambda board: [board.add_scalar(n, v, update) for n, v in shown.items()])

    def add_validation(
        self, update: int, class_iou: Mapping[str, float | None], picture: ByteArray
    ) -> None:
        """Show TensorBoard a validation: the IoU of each class, and a picture (H, W, 3) uint8."""

        def add(board: SummaryWriter) -> None:
            for name, value in class_iou.items():
                if value is not None:
                    board.add_scalar(f"class_iou/{name}", value, update)
            board.add_image("validation", picture, update, dataformats="HWC")

        self._on_board(add)

    def close(self) -> None:
        """Flush and close both."""
        self.file.close()
        self._on_board(lambda board: board.close())

    def _on_board(self, act: Callable[[SummaryWriter], Any]) -> None:
        """Do something with TensorBoard's events; if that fails, go on without them."""
        try:
            if self._board is not None:
                act(self._board)
        except Exception as error:  # of whatever its writer's thread met
            self._board = None
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"no more events for TensorBoard: {reason}", stacklevel=3)


def draw_curve(rows: list[dict[str, float]], path: Path, title: str) -> None:
    """Plot scores and validation mIoU against updates, and against score queries on top."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    lines = (
        ("score", "mean score in training", "#0072B2"),
        ("miou", "validation mIoU", "#D55E00"),
        ("validation_score", "score of the answers in validation", "#009E73"),
    )
    for name, label, colour in lines:
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
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    plt.close(figure)


class ValidationPictures:
    """Pictures of a network's predictions for scenes spread over a split, while it trains.

    Attributes:
        film: Predictions after each validation so far.
    """

    def __init__(self, scenes: Scenes):
        """Choose the scenes."""
        count, device = min(_OVERLAY_ROWS, len(scenes)), scenes.device
        index = torch.linspace(0, len(scenes) - 1, count, device=device).long()
        batch = SceneBatch.unvaried(index)
        self._images, self._palette = scenes.observe(batch), scenes.palette
        self._class_names = scenes.class_names
        self._shown = [enlarged(image, _SIDE) for image in self._images.cpu().numpy()]
        self._labels: list[ByteArray] = []
        stills = {"image": list(self._images.cpu().numpy())}
        if scenes.labels is not None:
            self._labels = list(scenes.labels_of(batch).cpu().numpy())
            stills["label"] = [colourise(label, self._palette) for label in self._labels]
        self.film = Film(stills=stills)

    @torch.no_grad()
    def _predict(self, network: Predictor) -> list[ByteArray]:
        """The classes of each scene."""
        with evaluating(network):
            return list(network.predict(self._images).cpu().numpy())

    def _legend(self, maps: Sequence[ByteArray]) -> list[tuple[str, ByteArray]]:
        return legend_of(self._class_names, self._palette, *self._labels, *maps)

    def add(self, network: Predictor, folder: Path, update: int) -> ByteArray:
        """Add what the network predicts now to the film, and write and return `overlay.png`."""
        maps = self._predict(network)
        self.film.add([colourise(part, self._palette) for part in maps], f"update {update}")
        return self._save_overlay(maps, folder)

    def _save_overlay(self, maps: Sequence[ByteArray], folder: Path) -> ByteArray:
        """Write and return `overlay.png`."""
        palette = self._palette
        columns = {"image": self._shown}
        if self._labels:
            columns["label"] = [colourise(enlarged(part, _SIDE), palette) for part in self._labels]
        large = [enlarged(part, _SIDE) for part in maps]
        columns["prediction"] = [colourise(part, palette) for part in large]
        columns["overlay"] = [
            outlined(image, part, palette) for image, part in zip(self._shown, large, strict=True)
        ]
        rows = list(zip(*columns.values(), strict=True))
        page = sheet(rows, list(columns), self._legend(maps))
        write_picture(folder / OVERLAY_NAME, Image.fromarray(page))
        return page

    def save(self, network: Predictor, folder: Path) -> None:
        """Write `overlay.png`, and `film.gif` and `film.png` if anything was added.

        `overlay.png` has rows of image, label if there are labels, prediction, and the prediction
        drawn over the image; the film shows images, labels, and predictions after each validation.
        """
        maps = self._predict(network)
        self._save_overlay(maps, folder)
        if len(self.film):
            for name in FILM_NAMES:
                self.film.save(folder / name, self._legend(maps))
