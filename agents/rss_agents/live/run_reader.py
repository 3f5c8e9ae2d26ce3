"""The state of a run, read from its folder again and again while it trains, or long after."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from rss_agents.files import new_lines
from rss_agents.training.resume import read_config
from rss_agents.training.run_files import (
    CONFIG_NAME,
    METRICS_NAME,
    OVERLAY_NAME,
    PROGRESS_NAME,
    VALIDATION_NAME,
)
from rss_env.errors import InputError

_DEPTH = 4  # of folders in folders in which runs are looked for
_LONGEST = 2**20  # bytes of a JSON file
_QUIET = 60.0  # seconds without news that are nothing to speak of


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Attributes:
        state: What it does.
        update: Updates done.
        updates: Updates there are to be.
        seconds: Time spent on them.
    """

    state: Literal["running", "stopped", "complete"]
    update: int
    updates: int
    seconds: float

    @property
    def updates_per_second(self) -> float | None:
        """Mean speed so far, validations included; None before the first update."""
        return self.update / self.seconds if self.update and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest takes at that speed; None if it is not known."""
        speed = self.updates_per_second
        return None if speed is None else (self.updates - self.update) / speed


@dataclass(frozen=True)
class Validation:
    """Metrics of the last validation.

    Attributes:
        update: After which update.
        miou: Mean IoU.
        pixel_accuracy: Share of valid pixels that are right.
        class_iou: IoU by class; None for a class that is neither labelled nor predicted.
    """

    update: int
    miou: float
    pixel_accuracy: float
    class_iou: dict[str, float | None]


_Content = TypeVar("_Content", Progress, Validation)
_ROW = TypeAdapter(dict[str, float])
_PROGRESS, _VALIDATION = TypeAdapter(Progress), TypeAdapter(Validation)


class RunReader:
    """Reads a run's folder; `refresh` looks for what is new.

    Attributes:
        name: What to call the run.
        config: Its options.
        rows: Of `metrics.jsonl` so far.
        progress: Where it stands; None before it says so.
        validation: Of the last validation; None without labels or before the first.
    """

    def __init__(self, folder: Path, name: str):
        """Bind the folder of a run.

        Raises:
            InputError: If it holds no run, or files of it are damaged.
        """
        self.folder, self.name, self.config = folder, name, read_config(folder)
        self.rows: list[dict[str, float]] = []
        self.progress: Progress | None = None
        self.validation: Validation | None = None
        self._read_to = 0
        self.refresh()

    def refresh(self) -> bool:
        """Read what is new; returns whether anything is.

        Raises:
            InputError: If a file is damaged.
        """
        known = (len(self.rows), self.progress, self.validation)
        self._read_rows()
        self.progress = self._read_json(PROGRESS_NAME, _PROGRESS)
        self.validation = self._read_json(VALIDATION_NAME, _VALIDATION)
        return known != (len(self.rows), self.progress, self.validation)

    def _read_rows(self) -> None:
        path = self.folder / METRICS_NAME
        if path.is_file() and path.stat().st_size < self._read_to:
            self.rows, self._read_to = [], 0  # the run went on from an earlier state
        lines, end = new_lines(path, self._read_to)
        rows: list[dict[str, float]] = []
        for number, line in enumerate(lines, len(self.rows) + 1):
            try:
                row = _ROW.validate_json(line)
                if not {"update", "score_queries"} <= set(row):
                    raise ValueError("it has no update or no score_queries")
            except (ValidationError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise InputError(f"{path}, line {number}: {reason}") from None
            rows.append(row)
        self.rows += rows
        self._read_to = end

    def _read_json(self, name: str, kind: TypeAdapter[_Content]) -> _Content | None:
        path = self.folder / name
        try:
            with path.open("rb") as file:
                return kind.validate_json(file.read(_LONGEST))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise InputError(f"{path}: {' '.join(str(error).split())[:200]}") from None

    def overlay(self) -> tuple[float, Path] | None:
        """The picture of the last validation, and when it was written; None before the first."""
        path = self.folder / OVERLAY_NAME
        return (path.stat().st_mtime, path) if path.is_file() else None

    def told_at(self) -> tuple[bool, float]:
        """Whether the run goes on, and when it last said where it stands: the more, the newer."""
        path, progress = self.folder / PROGRESS_NAME, self.progress
        if progress is None or not path.is_file():
            return False, 0.0
        goes_on = progress.state == "running" and self.seconds_without_news() is None
        return goes_on, path.stat().st_mtime

    def seconds_without_news(self) -> float | None:
        """For how long a run that should be running has said nothing; None if that is as usual."""
        path, progress = self.folder / PROGRESS_NAME, self.progress
        if progress is None or progress.state != "running" or not path.is_file():
            return None
        quiet = time.time() - path.stat().st_mtime
        expected = progress.seconds / max(progress.update, 1) * self.config.eval_every
        return quiet if quiet > max(_QUIET, 3 * expected) else None


def find_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """The runs in some folders, by names that tell them apart; folders of runs are looked into.

    Raises:
        InputError: If a folder is not there.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}")
        for run in _runs_below(folder, _DEPTH):
            inside = run.relative_to(folder).as_posix()
            parts = [] if inside == "." else [inside]
            if not parts or len(folders) > 1:
                parts.insert(0, folder.resolve().name)
            name = "/".join(parts)
            found[name if name not in found else str(run)] = run
    return found


def _runs_below(folder: Path, depth: int) -> list[Path]:
    if (folder / CONFIG_NAME).is_file():
        return [folder]
    if depth == 0:
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    return [run for path in inside for run in _runs_below(path, depth - 1)]
