"""Weights that other programs saved: found whatever stands before their names, or refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from safetensors.torch import save_file

from rss_agents.networks import foreign_weights
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, is_whole_start, start_from
from rss_env.errors import InputError
from training_runs import run

pytestmark = pytest.mark.usefixtures("one_thread")
NAME, SIZE, NAMES = "unet/resnet18", (32, 32), ("sky", "tree", "road")
DESCRIPTION = NetworkDescription.of(NAME, SIZE, NAMES, np.zeros((3, 3), np.uint8))


@pytest.fixture(scope="module")
def trained() -> Any:
    torch.manual_seed(5)
    return smp.create_model("unet", encoder_name="resnet18", encoder_weights=None, classes=3)


def prefixed(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in weights.items()}


def started(path: Path, names: tuple[str, ...] = NAMES) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors of a network that started from there, and the names of those it did not take."""
    network = build_network(NAME, len(names), SIZE)
    new = start_from(network, DESCRIPTION, path)
    return network.body.state_dict(), new


LAYOUTS = {
    "plain.pth": lambda w: w,
    "distributed.pt": lambda w: {"model_state_dict": prefixed(w, "module."), "epoch": 3},
    "lightning.ckpt": lambda w: {"state_dict": prefixed(w, "net.model."), "loops": {"a": [1]}},
    "without-counters.bin": lambda w: {n: v for n, v in w.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whole_networks_are_found(layout, trained, tmp_path):
    path = tmp_path / layout
    torch.save(LAYOUTS[layout](trained.state_dict()), path)
    taken, new = started(path)
    assert new == ()
    for name, value in trained.state_dict().items():
        assert torch.equal(taken[name], value), name
    assert is_whole_start(path, NAME, SIZE, NAMES)
    assert not is_whole_start(path, NAME, SIZE, NAMES[:2])


def test_what_smp_saves_is_a_start(trained, tmp_path):
    trained.save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "saved", tmp_path / "saved/model.safetensors"):
        taken, new = started(path)
        assert new == ()
        assert all(torch.equal(taken[name], v) for name, v in trained.state_dict().items())


def test_another_number_of_classes_keeps_all_but_the_head(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / "a.pth")
    taken, new = started(tmp_path / "a.pth", (*NAMES, "car"))
    assert new == ("segmentation_head.0.weight", "segmentation_head.0.bias")
    for name in set(taken) - set(new):
        assert torch.equal(taken[name], trained.state_dict()[name])


CLASSIFIERS = {
    "torchvision": lambda: torchvision.models.resnet18(weights=None),
    "timm": lambda: timm.create_model("resnet18", pretrained=False),
}


@pytest.mark.parametrize("program", CLASSIFIERS)
def test_a_classifier_gives_an_encoder(program, tmp_path):
    weights = CLASSIFIERS[program]().state_dict()
    save_file(weights, tmp_path / "classifier.safetensors", {"format": "pt"})
    taken, new = started(tmp_path / "classifier.safetensors")
    for name, value in weights.items():
        if not name.startswith("fc."):
            assert torch.equal(taken[f"encoder.{name}"], value)
    assert new
    assert not any(name.startswith("encoder.") for name in new)
    assert not is_whole_start(tmp_path / "classifier.safetensors", NAME, SIZE, NAMES)


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_what_gives_no_start_is_refused(trained, tmp_path, monkeypatch):
    whole = trained.state_dict()
    others = {name: value[..., :0] for name, value in whole.items() if value.ndim}
    few = dict(list(whole.items())[:20])
    for content, words in {
        "other shapes": (others, "0 of the 1[0-9]{2} tensors of 'unet/resnet18' are found"),
        "a part": (few, r"20 of the 1[0-9]{2} tensors .* not for instance encoder\."),
        "a list": ([torch.zeros(3)], "holds no state dict; valid: "),
        "a module": (trained, "holds no weights that can be read: .*"),
        "code": ({"state_dict": Harmful(tmp_path / "made")}, "holds no weights that can be read"),
    }.values():
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(InputError, match=words):
            started(tmp_path / "a.pth")
    assert not (tmp_path / "made").exists()
    for broken in (b"", b"PK\x03\x04", (tmp_path / "a.pth").read_bytes()[:500]):
        (tmp_path / "b.pth").write_bytes(broken)
        with pytest.raises(InputError, match="holds no weights that can be read"):
            started(tmp_path / "b.pth")
    torch.save(whole, tmp_path / "a.pth")
    monkeypatch.setattr(foreign_weights.torch, "__version__", "2.5.1+cu124")
    with pytest.raises(InputError, match="which torch 2.5.1.* may run code of; valid: torch 2.6"):
        started(tmp_path / "a.pth")


def test_a_run_starts_from_a_file_of_weights(tmp_path, capsys):
    """And validates the network that it starts from before it learns."""
    first = run(tmp_path / "first", "--algo", "psl", "--network", "tiny-unet")
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "first/model.safetensors")
    body = {n.removeprefix("body."): v for n, v in weights.items() if n.startswith("body.")}
    torch.save(body, tmp_path / "weights.pth")
    capsys.readouterr()
    begin = ("--start-from", str(tmp_path / "weights.pth"), "--network", "tiny-unet")
    run(tmp_path / "second", *begin, "--algo", "psl")
    error = capsys.readouterr().err
    assert f"note: {tmp_path / 'weights.pth'} does not name its classes: they are taken to" in error
    lines = (tmp_path / "second/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["miou"] == first["miou"]
