"""The folder of a training run, written by the first process for all."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

from torch import nn
from tqdm import tqdm

from agents.checkpoint import FILE_NAME, NetworkDescription, save_checkpoint
from agents.distributed import world_size
from agents.evaluate import SplitMetrics, evaluate
from agents.policies import SegmentationNetwork
from agents.report import MetricsLog, ValidationPictures, draw_curve, versions, write_json
from agents.train_config import TrainConfig
from rss_env.scenes import Scenes


class RunFolder:
    """Metrics, checkpoints and pictures of a run, and its result at the end."""

    def __init__(
        self,
        config: TrainConfig,
        network: nn.Module,
        description: NetworkDescription | None,
        validation: Scenes,
        queries_per_update: int,
    ):
        """Make the folder and write the configuration into it.

        Args:
            config: Of the run.
            network: uint8 images to logits or to what each class is worth; what is measured.
            description: Of the network, for checkpoints; None for none, if it is not one of ours.
            validation: Images to validate on, with or without labels.
            queries_per_update: Scores asked for in one update.
        """
        self._config, self._network, self._description = config, network, description
        self._validation, self._queries = validation, queries_per_update
        self._validated: SplitMetrics | None = None
        folder = config.out
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("result.json", FILE_NAME):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        write_json(folder / "config.json", dataclasses.asdict(config) | {"out": str(folder)})
        self._log, self._pictures = MetricsLog(folder), ValidationPictures(validation)
        self._bar: tqdm[Any] = tqdm(total=config.updates, desc=config.algo, unit="update")
        self._shown: dict[str, str] = {}
        self._start = time.perf_counter()

    def count(self) -> None:
        """Move the progress bar by an update."""
        self._bar.update()

    def validate(self) -> dict[str, float]:
        """Save a checkpoint, and measure it if the validation images have labels."""
        measured = {}
        if self._validation.labels is not None:
            self._validated = evaluate(self._network, self._validation)
            measured["miou"] = self._validated.miou
            measured["pixel_accuracy"] = self._validated.pixel_accuracy
        self.save()
        self._pictures.add(self._network)
        return measured

    def save(self) -> None:
        """Save a checkpoint."""
        if self._description is not None and isinstance(self._network, SegmentationNetwork):
            save_checkpoint(self._config.out, self._network, self._description)

    def add(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log metrics after an update."""
        self._log.add(update, update * self._queries, metrics)
        shown = {name: f"{metrics[name]:.3f}" for name in ("score", "miou") if name in metrics}
        self._shown |= shown
        self._bar.set_postfix(self._shown)

    def say_stopped(self, signal_name: str, update: int) -> None:
        """Tell on stderr what a run that was interrupted leaves."""
        sys.stderr.write(
            f"stopped by {signal_name} after update {update}; "
            f"the checkpoint is in {self._config.out}\n"
        )

    def close(self) -> None:
        """End the log and draw the curve and the pictures."""
        config = self._config
        self._bar.close()
        self._log.close()
        self._pictures.save(config.out, self._network)
        title = f"{config.algo} on {config.data.env}"
        draw_curve(self._log.rows, config.out / "curve.png", title)

    def write_result(self, updates: int) -> dict[str, Any]:
        """Write `result.json` and return its content."""
        config, validated = self._config, self._validated
        result = {
            "env": config.data.env,
            "algo": config.algo,
            "objective": config.agent.objective if config.algo == "rss" else None,
            "seed": config.seed,
            "updates": updates,
            "seconds": round(time.perf_counter() - self._start, 2),
            "processes": world_size(),
            "score_queries": updates * self._queries,
            "miou": None if validated is None else validated.miou,
            "pixel_accuracy": None if validated is None else validated.pixel_accuracy,
            "versions": versions(),
        }
        write_json(config.out / "result.json", result)
        return result
