"""The state of a run, read from its folder again and again while it trains, or long after."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
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
    is_of_a_run,
)
from rss_env.errors import InputError
from rss_env.regular_files import open_regular

_DEPTH = 4  # of folders in folders in which runs are looked for
_LONGEST = 2**20  # bytes of a JSON file
_LARGEST = 2**24  # bytes of a picture
_PNG = b"\x89PNG\r\n\x1a\n"
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
        problem: What could not be read at the last look; empty if all could. What was known of it
            before stays, and rows before a damaged one are read.
    """

    def __init__(self, folder: Path, name: str):
        """Bind the folder of a run.

        Raises:
            InputError: If it holds no run, or one of another version.
        """
        self.folder, self.name, self.config = folder, name, read_config(folder)
        self.rows: list[dict[str, float]] = []
        self.progress: Progress | None = None
        self.validation: Validation | None = None
        self.problem = ""
        self._read_to = 0
        self._reads: tuple[Callable[[], None], ...] = (
            self._read_rows,
            self._read_progress,
            self._read_validation,
        )
        self.refresh()

    def refresh(self) -> bool:
        """Read what is new; returns whether anything is."""
        known = (len(self.rows), self.progress, self.validation, self.problem)
        problems: list[str] = []
        for read in self._reads:
            try:
                read()
            except (InputError, OSError) as error:
                problems.append(str(error))
        if not self.folder.is_dir():
            problems = [f"{self.folder} is not there any more"]
        self.problem = "; ".join(problems)
        return known != (len(self.rows), self.progress, self.validation, self.problem)

    def _read_rows(self) -> None:
        path = self.folder / METRICS_NAME
        if (found := _status(path)) is not None and found.st_size < self._read_to:
            self.rows, self._read_to = [], 0  # the run went on from an earlier state
        for line in new_lines(path, self._read_to)[0]:
            try:
                row = _ROW.validate_json(line)
                if not {"update", "score_queries"} <= set(row):
                    raise ValueError("it has no update or no score_queries")
            except (ValidationError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise InputError(f"{path}, line {len(self.rows) + 1}: {reason}") from None
            self.rows.append(row)
            self._read_to += len(line) + 1

    def _read_progress(self) -> None:
        self.progress = self._read_json(PROGRESS_NAME, _PROGRESS)

    def _read_validation(self) -> None:
        self.validation = self._read_json(VALIDATION_NAME, _VALIDATION)

    def _read_json(self, name: str, kind: TypeAdapter[_Content]) -> _Content | None:
        path = self.folder / name
        try:
            with open_regular(path) as file:
                return kind.validate_json(file.read(_LONGEST))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise InputError(f"{path}: {' '.join(str(error).split())[:200]}") from None

    def overlay(self, known: float = 0.0) -> tuple[float, bytes] | None:
        """The picture of the last validation, a PNG, and when it was written.

        Args:
            known: When the one was written that is known already.

        Returns:
            None before the first, and if it is known.

        Raises:
            InputError: If it is no such picture.
        """
        path = self.folder / OVERLAY_NAME
        if (found := _status(path)) is None or found.st_mtime == known:
            return None
        try:
            with open_regular(path) as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        if not content.startswith(_PNG) or len(content) > _LARGEST:
            raise InputError(f"{path} is no PNG of at most {_LARGEST} bytes")
        return found.st_mtime, content

    def told_at(self) -> tuple[bool, float]:
        """Whether the run goes on, and when it last said where it stands: the more, the newer."""
        found, progress = _status(self.folder / PROGRESS_NAME), self.progress
        if progress is None or found is None:
            return False, 0.0
        goes_on = progress.state == "running" and self.seconds_without_news() is None
        return goes_on, found.st_mtime

    def seconds_without_news(self) -> float | None:
        """For how long a run that should be running has said nothing; None if that is as usual."""
        found, progress = _status(self.folder / PROGRESS_NAME), self.progress
        if progress is None or progress.state != "running" or found is None:
            return None
        quiet = time.time() - found.st_mtime
        expected = progress.seconds / max(progress.update, 1) * self.config.eval_every
        return quiet if quiet > max(_QUIET, 3 * expected) else None


def _status(path: Path) -> os.stat_result | None:
    """What the system says of a file, or of a link; None if there is none."""
    try:
        return path.lstat()
    except OSError:
        return None


def find_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """The runs in some folders, by names that tell them apart; folders of runs are looked into.

    A folder that is not there, or cannot be read, holds none.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for run in _runs_below(folder, _DEPTH):
            inside = run.relative_to(folder).as_posix()
            parts = [] if inside == "." else [inside]
            if not parts or len(folders) > 1:
                parts.insert(0, folder.resolve().name)
            name = "/".join(parts)
            found[name if name not in found else str(run)] = run
    return found


def _is_run(folder: Path) -> bool:
    """Tell whether a folder is of a run, if need be of one whose options are damaged."""
    config = folder / CONFIG_NAME
    if is_of_a_run(config):
        return True
    found = _status(config)
    is_file = found is not None and stat.S_ISREG(found.st_mode)
    return is_file and _status(folder / METRICS_NAME) is not None


def _runs_below(folder: Path, depth: int) -> list[Path]:
    if _is_run(folder):
        return [folder]
    if depth == 0:
        return []
    try:
        inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:  # it is not there any more, or not for us
        return []
    return [run for path in inside for run in _runs_below(path, depth - 1)]
