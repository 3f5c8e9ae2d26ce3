"""The API for programs: objects in place of names, and a run like any other of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

from rss_agents import train as train_command
from rss_agents.api import TrainingEvent, load, predict, train
from rss_agents.evaluate import main as evaluate_main
from rss_agents.training.loop import TrainingError
from rss_agents.training.states import RunStates
from rss_env.errors import InputError
from training_runs import StoppedError

pytestmark = pytest.mark.usefixtures("one_thread")

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
LABELS = (IMAGES.mean(-1) > 127).astype(np.uint8)


def mean_iou(labels: np.ndarray, maps: np.ndarray) -> float:
    """Mean IoU of both classes over all images."""
    both = [((maps == c) & (labels == c)).sum() for c in (0, 1)]
    either = [((maps == c) | (labels == c)).sum() for c in (0, 1)]
    return float(np.mean([b / e for b, e in zip(both, either, strict=True)]))


SHORT: dict[str, Any] = {
    "updates": 4, "eval_every": 2, "num_images": 2, "group_size": 2, "scales": (4, 1)
}  # fmt: skip


def bright(images: torch.Tensor, action_maps: torch.Tensor) -> torch.Tensor:
    shown = images.float().mean(3)[:, None] > 127
    return ((action_maps == 1) == shown).float().mean((2, 3))


class Tiny(nn.Module):
    """A network of one layer, which starts alike each time."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer = nn.Conv2d(3, 2, 3, padding=1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 10

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images)


def build_tiny(num_classes: int) -> nn.Module:
    assert num_classes == 2
    return Tiny()


class Pairs(Dataset):
    """Samples as torchvision gives them: floats with channels first, and labels of int64."""

    class_names = ("dark", "bright")

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = torch.from_numpy(IMAGES[index]).permute(2, 0, 1) / 255
        return image, torch.from_numpy(LABELS[index]).long()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Any:
    """A run of arrays, a scorer, a module and a callback."""
    out, seen = tmp_path_factory.mktemp("api") / "run", []
    network = Tiny()
    before = network.layer.weight.detach().clone()
    run = train(
        IMAGES, classes=["dark", "bright"], validation=(IMAGES, LABELS), scorer=bright,
        network=network, callbacks=seen.append, out=out, **SHORT,
    )  # fmt: skip
    assert not network.layer.weight.equal(before)  # it is trained itself
    return run, seen


def test_a_run_of_objects_is_a_run_like_any_other(trained):
    run, seen = trained
    assert run.result == json.loads((run.folder / "result.json").read_text())
    assert run.result["score_queries"] == 4 * 2 * 2 * 2
    assert 0 <= run.result["miou"] <= 1
    assert run.stopped_by is None
    config = json.loads((run.folder / "config.json").read_text())
    assert config["scorer"] == "object bright"
    assert config["network"] == "object Tiny"
    assert config["data"]["env"] == "RSS/object ndarray-ImageReward-v0"
    assert run.description.class_names == ("dark", "bright")
    assert run.description.image_size == (16, 16)
    assert [(e.update, e.is_validation) for e in seen] == [
        (0, True), (1, False), (2, True), (3, False), (4, True)
    ]  # fmt: skip
    assert seen[-1].metrics["miou"] == run.result["miou"]


def test_arrays_are_predicted_at_their_own_size(trained):
    run, _ = trained
    maps = run.predict(IMAGES)
    assert (maps.shape, maps.dtype) == ((6, 16, 16), np.uint8)
    assert (run.predict(IMAGES[0]) == maps[0]).all()
    assert (run.predict(torch.from_numpy(IMAGES[:1]).permute(0, 3, 1, 2)) == maps[:1]).all()
    listed = run.predict([IMAGES[0], np.zeros((20, 30, 3), np.uint8)])
    assert [one.shape for one in listed] == [(16, 16), (20, 30)]
    loaded = load(run.folder, network=Tiny())
    assert (predict(loaded, IMAGES) == maps).all()
    assert (predict(run.folder, IMAGES, network=Tiny()) == maps).all()
    with pytest.raises(InputError, match="floats in 0..1"):
        run.predict(IMAGES.astype(np.float32))


def test_a_checkpoint_of_a_module_needs_the_module(trained, capsys):
    run, _ = trained
    with pytest.raises(InputError, match="'object Tiny', an object of the program that trained"):
        load(run.folder)
    with pytest.raises(InputError, match=r"model\.safetensors does not fit the module"):
        load(run.folder, network=nn.Conv2d(3, 2, 5, padding=2))
    by_name = load(run.folder, network="test_api:build_tiny")
    assert (by_name.predict(IMAGES) == run.predict(IMAGES)).all()
    with pytest.raises(SystemExit):
        evaluate_main(["--checkpoint", str(run.folder), "--env", "RSS/Shapes-ImageReward-v0"])
    assert "--own-network module:function" in capsys.readouterr().err


def test_a_torch_data_set_with_labels_is_trained_on(tmp_path):
    """Its floats are the bytes that the arrays hold, so both learn the same."""
    common: dict[str, Any] = {**SHORT, "algo": "psl", "image_size": 16}
    of_pairs = train(
        Pairs(), validation=Pairs(), network=build_tiny, out=tmp_path / "pairs", **common
    )
    arrays = (IMAGES, LABELS)
    of_arrays = train(*arrays, validation=arrays, network=Tiny(), out=tmp_path / "arrays", **common)
    assert of_pairs.result is not None
    assert of_arrays.result is not None
    assert of_pairs.result["miou"] == of_arrays.result["miou"] > 0
    assert of_pairs.description.class_names == ("dark", "bright")


def test_a_run_that_was_stopped_goes_on_with_the_same_objects(tmp_path, monkeypatch, capsys):
    objects: dict[str, Any] = {"data": IMAGES, "validation": (IMAGES, LABELS), "scorer": bright}
    whole = train(**objects, network=Tiny(), classes=2, out=tmp_path / "whole", **SHORT)
    write = RunStates.write

    def write_and_stop(self: RunStates, number: int, state: Any) -> None:
        write(self, number, state)
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(RunStates, "write", write_and_stop)
        with pytest.raises(StoppedError):
            train(**objects, network=Tiny(), classes=2, out=tmp_path / "run", **SHORT)
    with pytest.raises(SystemExit):
        train_command.main(["--resume", str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert "was started from Python with objects of its program (data 'ndarray', " in error
    with pytest.raises(InputError, match=r"objects of its program \(.*network 'Tiny'"):
        train(**objects, classes=2, resume=tmp_path / "run")
    others = {**objects, "data": IMAGES[::-1].copy()}
    with pytest.raises(InputError, match="training data has changed"):
        train(**others, network=Tiny(), classes=2, resume=tmp_path / "run")
    run = train(**objects, network=Tiny(), classes=2, resume=tmp_path / "run")
    assert run.result is not None
    weights = load_file(run.folder / "model.safetensors")
    expected = load_file(whole.folder / "model.safetensors")
    assert all(value.equal(expected[name]) for name, value in weights.items())


def test_callbacks_end_a_run_and_their_errors_are_told(tmp_path):
    def stop(event: TrainingEvent) -> None:
        if event.update == 1:
            event.stop()

    arrays: dict[str, Any] = {"validation": (IMAGES, LABELS), "algo": "psl", **SHORT}
    run = train(IMAGES, LABELS, callbacks=[stop], out=tmp_path / "stopped", **arrays)
    assert run.result is not None
    assert (run.result["updates"], run.result["stopped_early"]) == (1, True)
    assert run.result["miou"] == pytest.approx(  # of the network that was stopped
        mean_iou(LABELS, run.predict(IMAGES)), abs=1e-6
    )

    def fail(event: TrainingEvent) -> None:
        raise OSError("no disk")

    with pytest.raises(TrainingError, match="callback fail raised OSError: no disk"):
        train(IMAGES, LABELS, callbacks=fail, out=tmp_path / "failed", **arrays)


def test_folders_are_taken_and_a_thread_may_train(tmp_path, folder_data):
    found: list[Any] = []

    def work() -> None:
        found.append(
            train(
                folder_data["images"], folder_data["labels"], classes=3, out=tmp_path / "run",
                validation=(folder_data["images"], folder_data["labels"]), image_size=16,
                algo="psl", **SHORT,
            )
        )  # fmt: skip

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].result["miou"] > 0


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no folder": ({"data": IMAGES, "classes": 2}, "where the run is written to"),
    "option": ({"out": "x", "epochs": 3}, "train got an unexpected keyword argument 'epochs'"),
    "no validation": ({"data": IMAGES, "labels": LABELS, "out": "x"}, "give validation=..."),
    "classes": ({"data": IMAGES, "scorer": bright, "out": "x"}, "say how many classes there are"),
    "other classes": (
        {"data": IMAGES, "labels": LABELS, "out": "x", "validation": (IMAGES, LABELS + 1)},
        "holds the value 2; valid: 0..1",
    ),
    "lengths": ({"data": IMAGES, "labels": LABELS[1:], "out": "x"}, "6 images and 5 labels"),
    "network": (
        {"data": IMAGES, "classes": 2, "scorer": bright, "network": nn.Conv2d(3, 4, 1), "out": "x"},
        "expected (1, 2, 16, 16)",
    ),
    "callbacks": (
        {"data": IMAGES, "labels": LABELS, "callbacks": 5, "out": "x"},
        "callbacks must be functions of an event, got 5",
    ),
    "scorer": ({"data": IMAGES, "classes": 2, "scorer": 5, "out": "x"}, "must be callable"),
    "three parts": (
        {"data": IMAGES, "labels": LABELS, "out": "x", "validation": (IMAGES, LABELS, 2)},
        "a pair of images and labels, got 3 parts",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_one_clear_error_and_nothing_is_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[name]
    small = {key: value for key, value in SHORT.items() if key not in arguments}
    with pytest.raises(InputError) as told:
        train(**arguments, **(small if "out" in arguments else {}))
    assert message in str(told.value)
    assert not list(tmp_path.iterdir())


def test_the_package_itself_stays_cheap_to_import():
    code = (
        "import sys, rss_agents; assert 'torch' not in sys.modules; "
        "assert rss_agents.api.train and rss_agents.load is rss_agents.api.load"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "agents")])
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})


OWN = """
import numpy as np
from torch.utils.data import Dataset

class Halves(Dataset):
    class_names = ("left", "right")

    def __init__(self, split=None):
        self.shift = {None: 0, "val": 1}[split]

    def __len__(self):
        return 4

    def __getitem__(self, index):
        label = np.zeros((16, 16), np.uint8)
        label[:, 4 + index + self.shift :] = 1
        return np.stack([label * 200] * 3, -1), label
"""


def test_a_data_set_of_one_s_own_is_named_on_the_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_halves.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--image-size", "16", "--scales", "4", "1", "--num-images", "2", "--group-size", "2"]
    options += ["--updates", "3", "--eval-every", "1"]
    for env in ("own_halves:Halves", "RSS/own_halves:Halves-PixelReward-v0"):
        out = tmp_path / env.replace("/", "-")
        train_command.main(["--env", env, "--out", str(out), *options])
        assert json.loads((out / "result.json").read_text())["miou"] > 0

    def stop(self: RunStates, number: int, state: Any) -> None:
        write(self, number, state)
        raise StoppedError

    write = RunStates.write
    with monkeypatch.context() as patch:
        patch.setattr(RunStates, "write", stop)
        with pytest.raises(StoppedError):
            train_command.main(
                ["--env", "own_halves:Halves", "--out", str(tmp_path / "r"), *options]
            )
    capsys.readouterr()
    with pytest.raises(SystemExit):
        train_command.main(["--resume", str(tmp_path / "r")])
    assert "say so with --env and the same name" in capsys.readouterr().err
    train_command.main(["--resume", str(tmp_path / "r"), "--env", "own_halves:Halves"])
    assert (tmp_path / "r/result.json").exists()
