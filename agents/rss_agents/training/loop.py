"""The loop of a training: learn, validate, save, stop, and go on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch

from rss_agents.distributed import mean_over_ranks, rank, world_size
from rss_agents.faults import is_of_memory
from rss_agents.ratings.person import StoppedWaitingError
from rss_agents.training.config import TrainConfig
from rss_agents.training.guarded_scorer import ScorerFailedError
from rss_agents.training.metrics_file import check_metrics
from rss_agents.training.numerics import NotFiniteError, check_finite
from rss_agents.training.objects import (
    NO_OBJECTS,
    CallbackFailedError,
    RunObjects,
    TrainingEvent,
)
from rss_agents.training.processes import from_first_rank, stop_signal, succeed_together
from rss_agents.training.resume import identity, refuse_changes, update_to_resume
from rss_agents.training.run import Run
from rss_agents.training.run_files import ForeignWriteError
from rss_agents.training.run_folder import RunFolder
from rss_agents.training.states import RunStates
from rss_env.errors import InputError

# Errors whose messages say what is the matter.
_TOLD = (NotFiniteError, ScorerFailedError, CallbackFailedError, ForeignWriteError)


class TrainingError(RuntimeError):
    """A training could not go on; the message says why, and what there is to go on from."""


def _mean_metrics(metrics: Mapping[str, torch.Tensor | float]) -> dict[str, float]:
    """Metrics of the whole batch from those of each rank's part; to be called on all ranks.

    Plain numbers are the same on all of them.
    """
    tensors = {name: v.detach().float() for name, v in metrics.items() if torch.is_tensor(v)}
    if tensors:
        means = mean_over_ranks(torch.stack(list(tensors.values()))).tolist()
        metrics = {**metrics, **dict(zip(tensors, means, strict=True))}
    return {name: float(value) for name, value in metrics.items()}


@contextmanager
def _training_errors(config: TrainConfig, last_saved: Callable[[], int | None]) -> Iterator[None]:
    """Raise a `TrainingError` where a run meets no memory, no disk, no numbers or no scores."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        if is_of_memory(error):
            reason = (
                f"no memory is left ({reason[:200]}); smaller --num-images, --group-size or "
                "--image-size take less"
            )
        elif isinstance(error, OSError):
            reason = f"{config.out} cannot be written: {reason}"
        elif not isinstance(error, _TOLD):
            raise
        saved = last_saved()
        left = "no training state has been saved yet"
        if saved is not None:
            left = f"go on from update {saved} with --resume {config.out}"
        raise TrainingError(f"{reason}; {left}") from error


class TrainingLoop:
    """One process's part of a training."""

    def __init__(
        self,
        config: TrainConfig,
        open_run: Callable[[TrainConfig], Run],
        objects: RunObjects = NO_OBJECTS,
    ):
        """Open what a training needs, and bring it to where it was stopped if it is resumed.

        Args:
            config: The options.
            open_run: Opens the run.
            objects: Whose callbacks are called.

        Raises:
            InputError: If anything in the configuration is invalid, or cannot be resumed; nothing
                has been written.
            TrainingError: If the folder cannot be written.
        """
        self.config, self.update, self._is_resumed = config, 0, config.resume is not None
        self._objects = objects
        self._ends = False  # before all updates are done
        self._validated_at: int | None = None
        self._run = succeed_together(lambda: open_run(config))
        self._states = RunStates(config.out, config.keep_states)
        shared: dict[str, Any] | None = None
        if config.resume is not None:
            shared = succeed_together(self._resume)
        self._run.distribute()
        self._folder: RunFolder | None = None
        if self._run.validation is not None:
            saved = None if shared is None else shared["folder"]
            with _training_errors(config, self._states.last):
                self._folder = RunFolder(
                    config, self._run, self._run.validation, saved, self.update
                )

    def _resume(self) -> dict[str, Any]:
        """Go on from a state; the first process's part of it."""
        config, update = self.config, update_to_resume(self.config)
        shared, own = self._states.read(update)
        if shared["processes"] != world_size():
            raise InputError(
                f"{config.out} is a run of {shared['processes']} processes, not of {world_size()}"
            )
        if update >= config.updates:
            raise InputError(
                f"--resume {config.resume} goes on from update {update}: updates must be more than "
                f"that, got {config.updates}"
            )
        if rank() == 0:
            refuse_changes(config, shared["identity"], self._identity)
            check_metrics(config.out, shared["folder"], self._states.advice(update))
        self._run.set_state(shared, own)
        self.update = update
        return shared

    @cached_property
    def _identity(self) -> dict[str, Any]:
        """The identity of the run, in the first process."""
        assert self._run.validation is not None
        return identity(self.config, self._run.training_digest(), self._run.validation)

    def save(self) -> None:
        """Save a training state; to be called on all ranks.

        Raises:
            OSError: If it cannot be written; the one before is kept then.
        """
        state = {"processes": world_size(), **self._run.get_state()}
        if self._folder is not None:
            state |= {"identity": self._identity, "folder": self._folder.get_state()}
        self._states.write(self.update, state)

    def _save_checkpoint(self) -> None:
        """Write the network as it is now, in the first process."""
        if self._folder is not None:
            self._folder.save()
            self._run.save(self.config.out)

    def _check(self, loss: torch.Tensor | float, norm: torch.Tensor | None) -> None:
        known = None if norm is None else float(norm)
        check_finite(float(loss), known, self.update + 1, self._run, self.config.out)

    def _learn(self) -> None:
        """One update, with what is due after it."""
        config, run = self.config, self._run
        # A GPU would be waited for at every update; there the metrics that are logged are checked.
        on_cpu = run.device.type == "cpu"
        metrics = run.update(self.update / config.updates, self._check if on_cpu else None)
        done = self.update + 1
        validates = done % config.eval_every == 0 or done == config.updates
        is_logged = validates or done % max(1, config.eval_every // 10) == 0
        if is_logged and not on_cpu:
            norm = metrics.get("gradient_norm")
            self._check(metrics.get("loss", 0.0), norm if isinstance(norm, torch.Tensor) else None)
        self.update = done
        if self._folder is not None:
            self._folder.count()
        if is_logged:
            values = _mean_metrics(metrics)
            if self._folder is not None:  # the other processes wait where they need this one again
                if validates:
                    values |= self._validate(self._folder, values)
                self._folder.add(self.update, values)
            self._ends = self._tell(values, is_validation=validates)
        is_due = self.update % (config.save_every or config.eval_every) == 0
        if is_due and self.update < config.updates:  # a run that is complete keeps none
            self.save()

    def _validate(self, folder: RunFolder, metrics: Mapping[str, float]) -> dict[str, float]:
        """Validate and save the network after an update of such metrics; those of the validation.

        In the first process.
        """
        self._validated_at = self.update
        numbers = folder.validate(self.update, metrics)
        self._run.save(self.config.out)
        return numbers

    def _tell(self, metrics: Mapping[str, float], *, is_validation: bool) -> bool:
        """Tell the callbacks; whether they, or the run's patience, end it here."""
        config, folder, ends = self.config, self._folder, False
        if not self._objects.callbacks and config.patience is None:
            return False
        if folder is not None:
            network = self._run.answering
            event = TrainingEvent(
                self.update, config.updates, metrics, is_validation, network, config.out
            )
            ends = self._objects.tell(event) or (is_validation and folder.is_out_of_patience)
        return from_first_rank(ends)

    @contextmanager
    def _progress_shown(self) -> Iterator[None]:
        """End the line of the progress bar, so that what is said of an error has one of its own."""
        try:
            yield
        finally:
            if self._folder is not None:
                self._folder.end_bar()

    def run(self) -> dict[str, Any] | str:
        """Train to the end; the result, or the name of the signal that ended the run before.

        Raises:
            TrainingError: If it could not go on.
        """
        config, folder, stopped, is_between_updates = self.config, self._folder, None, True
        with _training_errors(config, self._states.last), self._progress_shown():
            with stop_signal() as stop_asked_for:
                if self._is_resumed and config.allow_changes:
                    self.save()  # or the next resumption would meet the same changes
                if not self._is_resumed:
                    numbers = {} if folder is None else folder.begin()
                    self._ends = self._tell(numbers, is_validation=bool(numbers))
                if config.asks_a_person and self.update == 0:
                    self.save()  # what is waited for may be given long after
                while self.update < config.updates and not self._ends:
                    if stopped := stop_asked_for():
                        break
                    try:
                        self._learn()
                    except StoppedWaitingError:  # the state before this update is saved
                        stopped, is_between_updates = stop_asked_for(), False
                        break
                if stopped and is_between_updates:
                    self.save()
                if stopped:
                    self._save_checkpoint()
                elif self._ends and folder is not None and self._validated_at != self.update:
                    folder.add(self.update, self._validate(folder, {}))
            outcome: dict[str, Any] | str | None = None
            if folder is not None:
                folder.close()
                outcome = stopped or folder.write_result(self.update)
            if stopped and folder is not None:
                folder.say_stopped(stopped, self.update)
            if not stopped and rank() == 0:
                self._states.remove()
            return from_first_rank(outcome)
