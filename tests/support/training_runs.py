"""Tiny runs of rss-train: whole, stopped and compared."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rss_agents import train
from rss_agents.networks.evaluation import SplitMetrics
from rss_agents.training.loop import TrainingLoop
from rss_agents.training.states import RunStates

TINY = ["--image-size", "16", "--scales", "4", "1", "--num-images", "2", "--group-size", "2"]
RESULT_KEYS = {
    "env", "algo", "objective", "seed", "updates", "seconds", "score_queries", "versions",
    "processes", "best", "stopped_early", "validation_queries", "validation_score",
    *SplitMetrics.NAMES,
}  # fmt: skip


def run(out: Path, *arguments: str) -> dict:
    train.main([*TINY, "--updates", "4", "--eval-every", "2", "--out", str(out), *arguments])
    return json.loads((out / "result.json").read_text())


def prefer_houses(images, action_maps):
    """A scorer without labels: the share of pixels called class 2."""
    return (action_maps == 2).float().mean((2, 3))


def start(out: Path, *arguments: str, updates: int = 6) -> None:
    fixed = ["--updates", str(updates), "--eval-every", "2", "--out", str(out)]
    train.main([*TINY, *fixed, *arguments])


@contextmanager
def interrupted_at(monkeypatch: pytest.MonkeyPatch, update: int) -> Iterator[None]:
    """A run inside is ended by SIGTERM in an update, with the code of an interrupt."""
    learn = TrainingLoop._learn

    def learn_and_interrupt(self: TrainingLoop) -> None:
        learn(self)
        if self.update == update:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_learn", learn_and_interrupt)
        with pytest.raises(SystemExit) as stop:
            yield
    assert stop.value.code == 130


class StoppedError(Exception):
    """A process that is no more."""


def start_and_stop(
    monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str, update: int = 4
) -> None:
    """Start a run that fails as soon as the state after so many updates is written."""
    write = RunStates.write

    def write_and_stop(self: RunStates, number: int, state: Any) -> None:
        write(self, number, state)
        if number == update:
            raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(RunStates, "write", write_and_stop)
        with pytest.raises(StoppedError):
            start(out, *arguments)
    assert not (out / "result.json").exists()


def outcome(run: Path) -> dict[str, Any]:
    """Everything of a run that has to be the same, times aside."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    result = json.loads((run / "result.json").read_text())
    return {
        "rows": rows,
        "result": {**result, "seconds": 0, "scorer_seconds_per_call": 0},
        "film": (run / "film.png").read_bytes(),
    }


def assert_alike(run: Path, other: Path) -> None:
    weights, others = (load_file(path / "model.safetensors") for path in (run, other))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=0, atol=0, equal_nan=True)
    assert outcome(run) == outcome(other)
