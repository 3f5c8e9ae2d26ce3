"""The folder of a training run, written by the first process for all."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from rss_agents.algorithms.sb3_config import SB3_FILE
from rss_agents.distributed import world_size
from rss_agents.files import write_json
from rss_agents.networks.checkpoint import save_checkpoint
from rss_agents.networks.evaluation import SplitMetrics, evaluate
from rss_agents.networks.names import BEST_NAME, FILE_NAME
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.training.config import TrainConfig
from rss_agents.training.config_file import ConfigFile
from rss_agents.training.logging import (
    MetricsLog,
    ValidationPictures,
    draw_curve,
    start_wandb,
    versions,
)
from rss_agents.training.run import Run
from rss_agents.training.run_files import (
    BOARD_FOLDER,
    CURVE_NAME,
    FILM_NAMES,
    METRICS_NAME,
    OVERLAY_NAME,
    PROGRESS_NAME,
    REPRODUCTION,
    RESULT_NAME,
    VALIDATION_NAME,
)
from rss_agents.training.scorer_time import ScorerTime
from rss_agents.training.states import RunStates
from rss_env.scenes import Scenes


class RunFolder:
    """Metrics, checkpoints and pictures of a run, and its result at the end."""

    def __init__(
        self,
        config: TrainConfig,
        run: Run,
        validation: Scenes,
        saved: Mapping[str, Any] | None = None,
        update: int = 0,
    ):
        """Make the folder and write the configuration into it, or go on with one.

        The network of `run` is measured on the validation images if they have labels, and saved if
        there is a description of it. `saved` is a state of `get_state` to go on from, which was
        saved after so many updates; training states of later ones are removed.

        Raises:
            InputError: If the metrics so far cannot be continued, or Weights & Biases cannot start.
        """
        self._config, self._validation = config, validation
        self._config_file = ConfigFile(config)
        self._network, self._description = run.answering, run.description
        self._queries_before, self._objective = run.queries_before, run.objective
        folder = config.out
        self._validated: dict[str, Any] = {}
        self._answer_scores = run.answer_scores
        self._by = "miou" if validation.labels is not None else "score"
        if run.answer_scores is not None:
            self._by = "validation_score"
        self._best: dict[str, Any] = {"by": self._by, "value": 0.0, "update": None}
        self._worse = 0  # validations in a row that were not the best
        self._asked_of_answers = 0
        self._scorer_time = ScorerTime(run.scorer)
        self._scores: list[float] = []  # of updates that were logged since the last validation
        self._validated_at = 0
        self._before = 0.0
        self._pictures = ValidationPictures(validation)
        self._end_wandb: Callable[[], None] | None = None
        if config.wandb is not None:  # before TensorBoard's writer, which it listens to
            self._end_wandb = start_wandb(
                config.wandb, folder.resolve().name, self._config_file.options
            )
        if saved is None:
            _clear(folder)
            # The first file: one that a kill leaves alone would be of no run.
            self._config_file.write()
        else:
            self._validated, self._before = saved["validated"], saved["seconds"]
            best = saved["best"]  # before, of labels alone and without the update
            best = best if isinstance(best, dict) else {"value": best, "update": None}
            if best.get("by", self._by if self._by == "miou" else "score") == self._by:
                self._best |= best
            self._worse = saved.get("worse", 0)
            self._asked_of_answers = saved.get("asked_of_answers", 0)
            self._scorer_time.go_on(saved.get("scorer_time", (0, 0.0)))
            self._scores = list(saved.get("scores", ()))
            self._pictures.film.set_state(saved["pictures"])
            RunStates(folder).forget_after(update)  # whose metrics are forgotten as well
        self._log = MetricsLog(folder, saved)
        if saved is not None:  # behind what may refuse to go on
            self._config_file.write()
        rows = self._log.file.rows
        done = rows[-1]["update"] if rows else 0
        self._bar: tqdm[Any] = tqdm(
            total=config.updates, initial=int(done), desc=config.algo, unit="update"
        )
        self._shown: dict[str, str] = {}
        self._start = time.perf_counter()
        self._tell("running", int(done))

    def get_state(self) -> dict[str, Any]:
        """The state of the folder, with all metrics so far on the disk.

        Raises:
            ForeignWriteError: If something else has written to the folder.
        """
        self._config_file.check()
        return {
            **self._log.file.get_state(),
            "validated": self._validated,
            "best": self._best,
            "worse": self._worse,
            "asked_of_answers": self._asked_of_answers,
            "scorer_time": self._scorer_time.get_state(),
            "scores": self._scores,
            "seconds": self._seconds,
            "pictures": self._pictures.film.get_state(),
        }

    @property
    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._start

    def _tell(self, state: Literal["running", "stopped", "complete"], update: int) -> None:
        """Write where the run stands, for whoever looks on."""
        progress = {"state": state, "update": update, "updates": self._config.updates}
        progress["seconds"] = round(self._seconds, 2)
        progress |= self._scorer_time.report()
        write_json(self._config.out / PROGRESS_NAME, progress)

    def count(self) -> None:
        """Move the progress bar by an update."""
        self._bar.update()

    def end_bar(self) -> None:
        """Leave the progress bar as it is, and end its line; more often changes nothing."""
        self._bar.close()

    def begin(self) -> dict[str, float]:
        """Before the first update: measure what the network answers; no random number is drawn.

        A network that starts from a trained one may be the best there will be.

        Returns:
            Metrics of the validation.
        """
        numbers = self._measure(0)
        if self._config.start_from is not None and self._by in numbers:
            self._compare(0, numbers[self._by])
        if numbers:
            self.add(0, numbers)
        self._show(0)
        return numbers

    def _show(self, update: int) -> None:
        """Add what the network answers now to the pictures, and show TensorBoard."""
        picture = self._pictures.add(self._network, self._config.out, update)
        self._log.add_validation(update, self._validated.get("class_iou", {}), picture)

    def validate(self, update: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """After an update: save a checkpoint and pictures, and measure it.

        The best checkpoint is kept as well: by mIoU; without labels by the scorer's mean score of
        the answers, or, where it is not asked about them, by the scores of the training since the
        validation before.

        Args:
            update: How many updates there were.
            metrics: Of the last one.
        """
        self._validated_at = update
        scores, self._scores = [*self._scores, metrics.get("score", 0.0)], []
        numbers = self._measure(update)
        self._compare(update, numbers.get(self._by, sum(scores) / len(scores)))
        self.save()
        self._show(update)
        return numbers

    def _measure(self, update: int) -> dict[str, float]:
        """Metrics of the network's answers: against labels, or by the scorer; none without both."""
        if self._validation.labels is not None:
            found = evaluate(self._network, self._validation)
            self._validated = found.report(self._validation.class_names)
            write_json(self._config.out / VALIDATION_NAME, {"update": update, **self._validated})
            return found.numbers()
        if self._answer_scores is None:
            return {}
        self._validated = {"validation_score": self._answer_scores(self._network)}
        self._asked_of_answers += self._answer_scores.count
        return self._validated

    def _compare(self, update: int, value: float) -> None:
        """Keep the network if it is the best so far, and count for how long there was none."""
        self._worse += 1
        if self._best["update"] is None or value > self._best["value"]:
            self._best |= {"value": value, "update": update}
            self._worse = 0
            self.save(BEST_NAME)

    @property
    def is_out_of_patience(self) -> bool:
        """Whether too many validations in a row were not the best."""
        patience = self._config.patience
        return patience is not None and self._worse >= patience

    def save(self, name: str = FILE_NAME) -> None:
        """Save a checkpoint."""
        if self._description is not None and isinstance(self._network, SegmentationNetwork):
            save_checkpoint(self._config.out, self._network, self._description, name)

    def _queries(self, updates: int) -> int:
        """Scores that all processes have asked for in so many updates."""
        return self._queries_before(updates) * world_size()

    def add(self, update: int, metrics: Mapping[str, float]) -> None:
        """Log metrics after an update."""
        timings = self._scorer_time.since_last()
        self._log.add(update, self._queries(update), metrics, timings)
        if update != self._validated_at and "score" in metrics:
            self._scores.append(metrics["score"])
        shown = ("score", "miou", "validation_score")
        self._shown |= {n: f"{metrics[n]:.3f}" for n in shown if n in metrics}
        self._bar.set_postfix(self._shown)
        self._tell("running", update)

    def say_stopped(self, signal_name: str, update: int) -> None:
        """Tell what a run that was interrupted leaves."""
        self._tell("stopped", update)
        sys.stderr.write(
            f"stopped by {signal_name} after update {update}; "
            f"the checkpoint is in {self._config.out}; go on with --resume {self._config.out}\n"
        )

    def close(self) -> None:
        """End the log and draw the curve and the pictures.

        Raises:
            ForeignWriteError: If something else has written to the folder.
        """
        config = self._config
        self._config_file.check()
        self._log.file.check()
        self.end_bar()
        self._log.close()
        if self._end_wandb is not None:
            self._end_wandb()
        self._pictures.save(self._network, config.out)
        title = f"{config.algo} on {config.data.env}"
        draw_curve(self._log.file.rows, config.out / CURVE_NAME, title)

    def write_result(self, updates: int) -> dict[str, Any]:
        """Write `result.json` and return its content."""
        config, validated = self._config, self._validated
        result = {
            "env": config.data.env,
            "algo": config.algo,
            "objective": self._objective,
            "seed": config.seed,
            "updates": updates,
            "stopped_early": updates < config.updates,
            "seconds": round(self._seconds, 2),
            "processes": world_size(),
            "score_queries": self._queries(updates),
            "validation_queries": self._asked_of_answers,
            **{name: validated.get(name) for name in SplitMetrics.NAMES},
            "validation_score": validated.get("validation_score"),
            "best": self._best,
            **self._scorer_time.report(),
            "versions": versions(),
        }
        write_json(config.out / RESULT_NAME, result)
        self._tell("complete", updates)
        return result


def _clear(folder: Path) -> None:
    """Make the folder, and remove from it what another run has left."""
    folder.mkdir(parents=True, exist_ok=True)
    results = (RESULT_NAME, FILE_NAME, BEST_NAME, SB3_FILE, REPRODUCTION)
    shown = (METRICS_NAME, PROGRESS_NAME, VALIDATION_NAME, OVERLAY_NAME, CURVE_NAME)
    for name in (*results, *shown, *FILM_NAMES):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / BOARD_FOLDER, ignore_errors=True)
    RunStates(folder).remove()
