"""Networks of one's own: built by name, checked, remembered, and never run on a file's word."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_sample
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from rss_agents import evaluate, export, predict, train
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import load_checkpoint, read_checkpoint
from rss_agents.networks.own_network import is_own
from rss_env.errors import InputError
from training_runs import assert_alike, start, start_and_stop

pytestmark = pytest.mark.usefixtures("one_thread")

CODE = """
from pathlib import Path

from torch import nn

(Path(__file__).parent / "imported").touch()


def build_network(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(8, num_classes, 1)
    )


def strided(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, num_classes, 1))
"""
OWN = "planted_networks:build_network"


@pytest.fixture
def code(tmp_path, monkeypatch) -> Iterator[Path]:
    """A module that can be imported, and the file that tells whether it was."""
    (tmp_path / "planted_networks.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "imported"
    sys.modules.pop("planted_networks", None)


def forget(imported: Path) -> None:
    """As if it were the next process."""
    sys.modules.pop("planted_networks", None)
    imported.unlink(missing_ok=True)


def error_of(capsys: pytest.CaptureFixture[str], main: Any, *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(("name", "algo"), [("build_network", "rss"), ("strided@4", "psl")])
def test_a_network_of_ones_own_is_trained_and_used_again(name, algo, code, tmp_path, capsys):
    own, run = f"planted_networks:{name}", tmp_path / "run"
    start(run, "--network", own, "--algo", algo, "--scales", "8", "4", updates=2)
    assert json.loads((run / "config.json").read_text())["network"] == own
    assert read_checkpoint(run)[0].network == own
    result = json.loads((run / "result.json").read_text())

    write_sample(tmp_path / "pictures/a.png", None, np.zeros((30, 40)))
    folders = ("--images", str(tmp_path / "pictures"), "--out", str(tmp_path / "out"))
    commands = [
        (evaluate.main, ("--json",)),
        (predict.main, folders),
        (export.main, ("--program", str(tmp_path / "new.pt2"))),
    ]
    printed = ""
    for main, arguments in commands:
        forget(code)
        common = ("--checkpoint", str(run), *arguments)
        error = error_of(capsys, main, *common)
        assert f"holds the network '{own}', which is code" in error
        assert "--own-network" in error
        error = error_of(capsys, main, *common, "--own-network", "planted_networks:other")
        assert f"holds the network '{own}', not 'planted_networks:other'" in error
        assert not code.exists()
        main([*common, "--own-network", own])
        assert code.exists()
        printed += capsys.readouterr().out
    found = json.loads(printed)
    assert found["miou"] == pytest.approx(result["miou"], abs=1e-6)
    assert Image.open(tmp_path / "out/a.png").size == (40, 30)
    network, description = load_checkpoint(run, own_network=own)
    images = torch.randint(0, 256, (3, *description.image_size, 3), dtype=torch.uint8)
    module = torch.export.load(tmp_path / "new.pt2").module()
    torch.testing.assert_close(module(images), network.pixel_values(images))


def test_one_named_for_a_checkpoint_of_another_network_is_refused(code, tmp_path, capsys):
    start(tmp_path / "run", updates=2)
    error = error_of(
        capsys, evaluate.main, "--checkpoint", str(tmp_path / "run"), "--own-network", OWN
    )
    assert f"holds the network 'tiny-unet-silu', not '{OWN}'" in error
    assert not code.exists()


def test_a_code_that_is_gone_is_not_blamed_on_the_file(code, tmp_path):
    start(tmp_path / "run", "--network", OWN, updates=2)
    forget(code)
    (tmp_path / "planted_networks.py").unlink()
    with pytest.raises(InputError, match=r"^network 'planted\S+' is not 'module:function'"):
        load_checkpoint(tmp_path / "run", own_network=OWN)


def test_a_run_goes_on_if_its_code_is_named_again(code, tmp_path, monkeypatch, capsys):
    scorer = "training_runs:prefer_houses"
    start(tmp_path / "whole", "--network", OWN, "--scorer", scorer)
    start_and_stop(monkeypatch, tmp_path / "run", "--network", OWN, "--scorer", scorer)
    forget(code)
    resume = ("--resume", str(tmp_path / "run"))
    error = error_of(capsys, train.main, *resume, "--network", OWN)
    assert f"config.json names the scorer '{scorer}', which is code" in error
    assert "with --scorer and the same name" in error
    error = error_of(capsys, train.main, *resume, "--scorer", scorer)
    assert f"names the network '{OWN}', which is code" in error
    error_of(capsys, train.main, *resume)
    assert not code.exists()
    train.main([*resume, "--network", OWN, f"--scorer={scorer}"])
    assert_alike(tmp_path / "whole", tmp_path / "run")


def no_module(num_classes: int) -> Any:
    return [num_classes]


def fails(num_classes: int) -> nn.Module:
    raise RuntimeError(f"no weights for {num_classes}\nand more")


def nothing_to_train(num_classes: int) -> nn.Module:
    return nn.Identity()


class _Dict(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> Any:
        return {"out": super().forward(input)}


def gives_a_dict(num_classes: int) -> nn.Module:
    return _Dict(3, num_classes, 1)


def too_many_classes(num_classes: int) -> nn.Module:
    return nn.Conv2d(3, num_classes + 1, 1)


def other_stride(num_classes: int) -> nn.Module:
    return nn.Conv2d(3, num_classes, 2, 2)


def one_number(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def other_channels(num_classes: int) -> nn.Module:
    return nn.Conv2d(4, num_classes, 1)


BAD_NETWORKS = {
    "nothing_here": "is not 'module:function': module 'test_own_network' has no attribute",
    "CODE": "is not callable",
    "no_module": "must be a torch.nn.Module, got <class 'list'>",
    "fails": "cannot be built for 3 classes: RuntimeError: no weights for 3",
    "nothing_to_train": "has no parameters that can be trained",
    "gives_a_dict": "must give one tensor of logits .*, got <class 'dict'>",
    "too_many_classes": r"logits of shape \(1, 4, 8, 12\), expected \(1, 3, 8, 12\)",
    "other_stride": "is not stride 1 but 2",
    "other_stride@4": "is not stride 4 but 2",
    "one_number": r"logits of shape \(1, 3\), expected \(1, 3, 8, 12\)",
    "other_channels": "does not take 8x12 images: Given groups=1",
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_a_network_that_is_none_is_one_clear_error(name):
    with pytest.raises(InputError, match=f"'test_own_network:{name}'.*{BAD_NETWORKS[name]}"):
        build_network(f"test_own_network:{name}", 3, (8, 12))


def test_what_is_wrong_is_told_before_a_run_writes_anything(tmp_path, capsys):
    common = ("--out", str(tmp_path / "run"), "--image-size", "16", "--network")
    error = error_of(capsys, train.main, *common, "test_own_network:gives_a_dict")
    assert "must give one tensor" in error
    error = error_of(capsys, train.main, *common, "test_own_network:no_module", "--pretrained")
    assert "there are no pretrained weights" in error
    assert not (tmp_path / "run").exists()


def test_names_that_are_code():
    for name in ("a:b", "a.b_c:D", "_a1:b@4", "größe:netz"):
        assert is_own(name), name
    others = [
        "tiny-unet",
        "tiny-unet-silu",
        "unet/resnet18@4",
        "unet/tu-hf_hub:someone",
        "",
        "a:",
        ":b",
        "a:b:c",
    ]
    others += ["a/b:c", "a.:b", "a b:c", ".a:b", "a:b.c", "1a:b", "a:b\n", "a-b:c"]
    for name in others:
        assert not is_own(name), name


def test_fine_tuning_starts_from_trained_weights(code, tmp_path, capsys):
    """Of the network, not of how it decides; on images of any size."""
    start(tmp_path / "first", "--network", OWN, updates=2)
    trained = load_file(tmp_path / "first/model.safetensors")
    assert trained["decide.gains"].any()
    for out, origin in (("second", "first"), ("third", "first/best.safetensors")):
        start(
            tmp_path / out, "--network", OWN, "--algo", "psl", "--start-from",
            str(tmp_path / origin), "--learning-rate", "0", "--weight-decay", "0",
            "--image-size", "24", updates=1,
        )  # fmt: skip
    second, third = (load_file(tmp_path / f"{n}/model.safetensors") for n in ("second", "third"))
    best = load_file(tmp_path / "first/best.safetensors")
    assert second.keys() == trained.keys()
    for name in second:
        if name.startswith("body."):
            assert torch.equal(second[name], trained[name])
            assert torch.equal(third[name], best[name])
        else:
            assert not torch.equal(second[name], trained[name]) or name == "decide.temperature"
    config = json.loads((tmp_path / "second/config.json").read_text())
    assert config["start_from"] == str(tmp_path / "first")


def test_fine_tuning_goes_on_without_what_it_started_from(tmp_path, monkeypatch):
    start(tmp_path / "first", updates=2)
    first = ("--start-from", str(tmp_path / "first"), "--learning-rate", "1e-3")
    start(tmp_path / "whole", *first)
    start(tmp_path / "scratch", *first[2:])
    start_and_stop(monkeypatch, tmp_path / "run", *first)
    (tmp_path / "first/model.safetensors").unlink()
    train.main(["--resume", str(tmp_path / "run")])
    assert_alike(tmp_path / "whole", tmp_path / "run")
    rows = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "scratch")]
    assert rows[0] != rows[1]


def test_stable_baselines_start_from_trained_weights(tmp_path, capsys):
    pytest.importorskip("stable_baselines3")
    start(tmp_path / "first", "--algo", "psl", updates=2)
    arguments = ("--algo", "sb3-a2c", "--start-from", str(tmp_path / "first"))
    start(tmp_path / "second", *arguments, "--learning-rate", "0", updates=2)
    weights = [load_file(tmp_path / f"{n}/model.safetensors") for n in ("first", "second")]
    learned = [name for name in weights[0] if name.endswith("weight")]
    assert learned
    for name in learned:
        assert torch.equal(weights[0][name], weights[1][name])
    common = ("--out", str(tmp_path / "third"), "--image-size", "40", *arguments)
    error = error_of(capsys, train.main, *common, "--sb3.policy", "cnn")
    assert "--start-from needs --sb3.policy maps" in error
    assert not (tmp_path / "third").exists()


def test_a_start_that_does_not_fit_is_refused(code, tmp_path, capsys):
    start(tmp_path / "first", updates=2)
    start(tmp_path / "own", "--network", OWN, updates=2)
    (tmp_path / "text.safetensors").write_text("no checkpoint")
    forget(code)
    cases: list[tuple[str, list[str], str]] = [
        ("first", ["--network", "tiny-unet-group"],
         "its network is 'tiny-unet-silu', here it is 'tiny-unet-group'"),
        ("own", [], f"its network is '{OWN}', here it is 'tiny-unet-silu'"),
        ("nowhere", [], "no checkpoint at"),
        ("text.safetensors", [], "is not a checkpoint of rss-train"),
        ("first", ["--pretrained"], "give --pretrained or --start-from, not both"),
    ]  # fmt: skip
    for origin, arguments, message in cases:
        options = ("--out", str(tmp_path / "run"), "--image-size", "16", *arguments)
        error = error_of(capsys, train.main, "--start-from", str(tmp_path / origin), *options)
        assert message in error
        assert not (tmp_path / "run").exists()
    assert not code.exists()  # a file that is started from runs nothing
