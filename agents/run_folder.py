"""The folder of a training run, written by the first process for all."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from agents.checkpoint import save_checkpoint
from agents.distributed import world_size
from agents.evaluate import SplitMetrics, evaluate
from agents.report import MetricsLog, ValidationPictures, draw_curve, versions, write_json
from agents.train_config import TrainConfig
from agents.training_run import Run


class RunFolder:
    """Metrics, checkpoints and pictures of a run, and its result at the end."""

    def __init__(self, config: TrainConfig, run: Run):
        """Make the folder and write the configuration into it."""
        assert run.validation is not None
        self._config, self._run, self._validation = config, run, run.validation
        self._queries = run.learner.queries_per_update * world_size()
        self._validated: SplitMetrics | None = None
        folder = config.out
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        write_json(folder / "config.json", dataclasses.asdict(config) | {"out": str(folder)})
        self._log, self._pictures = MetricsLog(folder), ValidationPictures(run.validation)
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
            self._validated = evaluate(self._run.network, self._validation)
            measured["miou"] = self._validated.miou
            measured["pixel_accuracy"] = self._validated.pixel_accuracy
        self.save()
        self._pictures.add(self._run.network)
        return measured

    def save(self) -> None:
        """Save a checkpoint."""
        save_checkpoint(self._config.out, self._run.network, self._run.description)

    def add(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log metrics after an update."""
        self._log.add(update, update * self._queries, metrics)
        shown = {name: f"{metrics[name]:.3f}" for name in ("score", "miou") if name in metrics}
        self._shown |= shown
        self._bar.set_postfix(self._shown)

    def close(self) -> None:
        """End the log and draw the curve and the pictures."""
        config = self._config
        self._bar.close()
        self._log.close()
        self._pictures.save(config.out, self._run.network)
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
