"""Objects of a program that a run uses in place of what its options name, and who listens to it.

The options stay the description of a run: they say `object NAME` where an object stands. So a run
made of objects writes the same folder, and nobody takes it for one that a command could go on with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rss_agents.training.config import TrainConfig
from rss_env.datasets import SegmentationDataset
from rss_env.datasets.own import OBJECT
from rss_env.errors import InputError

if TYPE_CHECKING:  # slow to import: a command that shows its options need not wait
    from torch import nn

    from rss_agents.networks.segmentation_network import Predictor
    from rss_env.feedback import AnyScorer


class CallbackFailedError(RuntimeError):
    """A callback raised an error."""


@dataclass
class TrainingEvent:
    """The state of a training after an update that was logged.

    Attributes:
        update: Updates done; 0 before the first.
        updates: Updates there are to be.
        metrics: By name, as in `metrics.jsonl`.
        is_validation: Whether validation metrics are among them.
        network: Whose answers are validated; not to be changed.
        folder: Of the run.
    """

    update: int
    updates: int
    metrics: Mapping[str, float]
    is_validation: bool
    network: Predictor
    folder: Path
    _stops: bool = False

    def stop(self) -> None:
        """End the training after this update, as a complete run."""
        self._stops = True

    @property
    def stops(self) -> bool:
        """Whether somebody has asked for that."""
        return self._stops


Callback = Callable[[TrainingEvent], object]


@dataclass(frozen=True)
class RunObjects:
    """Objects in place of names.

    Attributes:
        data: To learn from.
        validation: To validate on.
        scorer: Scores maps.
        network: Learns.
        callbacks: Are called after each update that is logged, in the first process.
    """

    data: SegmentationDataset | None = None
    validation: SegmentationDataset | None = None
    scorer: AnyScorer | None = None
    network: nn.Module | None = None
    callbacks: tuple[Callback, ...] = ()

    def check(self, config: TrainConfig) -> None:
        """Refuse options that ask for objects that are not here, or for others.

        Raises:
            InputError: Naming them.
        """
        missing = [
            f"{what} {name.removeprefix(OBJECT)!r}"
            for what, name in objects_in(config).items()
            if getattr(self, what) is None
        ]
        if missing:
            raise InputError(
                f"{config.out} was started from Python with objects of its program "
                f"({', '.join(missing)}): go on there, with the same objects, by "
                "rss_agents.api.train(resume=...)"
            )

    def tell(self, event: TrainingEvent) -> bool:
        """Call the callbacks; returns whether one of them asks for the end.

        Raises:
            CallbackFailedError: If one raises an error.
        """
        for callback in self.callbacks:
            try:
                callback(event)
            except Exception as error:  # of whatever the caller's own code raises
                name = getattr(callback, "__name__", type(callback).__name__)
                reason = f"{type(error).__name__}: {str(error)[:200]}"
                raise CallbackFailedError(f"callback {name} raised {reason}") from error
        return event.stops


NO_OBJECTS = RunObjects()


def objects_in(config: TrainConfig) -> dict[str, str]:
    """The names of the objects that options ask for, by what they are."""
    named: dict[str, Any] = {
        "data": config.data.dataset_name,
        "scorer": config.scorer,
        "network": config.network,
    }
    return {k: v for k, v in named.items() if isinstance(v, str) and v.startswith(OBJECT)}
