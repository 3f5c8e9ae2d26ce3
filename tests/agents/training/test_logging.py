"""What TensorBoard is told, and Weights & Biases through it."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard.writer import SummaryWriter

from rss_agents import train
from rss_env.datasets import open_dataset
from rss_env.rendering import HEAD_HEIGHT
from training_runs import TINY, run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_tensorboard_gets_classes_and_pictures(tmp_path):
    run(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0})
    events.Reload()
    class_iou = json.loads((tmp_path / "validation.json").read_text())["class_iou"]
    for name, value in class_iou.items():
        if value is not None:
            last = events.Scalars(f"class_iou/{name}")[-1]
            assert (last.step, last.value) == (4, pytest.approx(value))
    assert [picture.step for picture in events.Images("validation")] == [0, 2, 4]


class FakeWandb(ModuleType):
    """Takes note of what it is asked."""

    def __init__(self, error: Exception | None = None):
        super().__init__("wandb")
        self.error, self.calls = error, list[Any]()

    def init(self, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append(options)

    def finish(self) -> None:
        self.calls.append("finish")


def test_weights_and_biases_listens_to_tensorboard(tmp_path, monkeypatch):
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    opened = []
    make = SummaryWriter.__init__

    def note_and_make(self, *arguments, **options):
        opened.append(len(wandb.calls))
        make(self, *arguments, **options)

    monkeypatch.setattr(SummaryWriter, "__init__", note_and_make)
    run(tmp_path / "mine", "--wandb", "roads")
    begun, ended = wandb.calls
    assert (begun["project"], begun["name"], begun["sync_tensorboard"]) == ("roads", "mine", True)
    assert json.loads(json.dumps(begun["config"]))["updates"] == 4
    assert ended == "finish"
    assert opened == [1]  # what it listens to has to be opened after it has begun


def refused(tmp_path, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        train.main([*TINY, "--out", str(tmp_path / "run"), "--wandb", "roads"])
    assert stop.value.code == 2
    assert not (tmp_path / "run").exists()
    return capsys.readouterr().err


def test_it_has_to_be_installed(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    expected = "Weights & Biases is not installed; get it with: pip install 'rss-env[wandb]'"
    assert expected in refused(tmp_path, capsys)


def test_it_has_to_start(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(RuntimeError("no API key")))
    error = refused(tmp_path, capsys)
    assert "Weights & Biases cannot start: RuntimeError: no API key" in error


def test_the_overlay_of_a_run_says_what_it_shows(tmp_path):
    run(tmp_path)
    page = np.array(Image.open(tmp_path / "overlay.png"))
    side, gap, rows = 192, 4, 6
    assert page.shape[1] == 4 * (side + gap) - gap  # image, label, prediction, overlay
    for column in range(4):
        start = column * (side + gap)
        assert (page[:HEAD_HEIGHT, start : start + side] < 128).any()
    legend = page[HEAD_HEIGHT + rows * (side + gap) - gap :].reshape(-1, 3)
    for colour in open_dataset("Shapes").palette:
        assert (legend == colour).all(1).any()
    film = np.array(Image.open(tmp_path / "film.png"))
    assert film.shape[1] == (2 + 3) * (128 + gap) - gap  # with updates 0, 2 and 4
