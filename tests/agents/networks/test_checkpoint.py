"""Checkpoints: they hold their own description, and what is none is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rss_agents import evaluate
from rss_agents.command_line import DataConfig
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import (
    NetworkDescription,
    load_checkpoint,
    save_checkpoint,
    start_from,
)
from rss_env.errors import InputError
from strided_network import NETWORK, SIZE, strided_images
from training_runs import run


def test_a_checkpoint_keeps_its_stride(tmp_path, voc_root):
    dataset = DataConfig("RSS/VOC-ImageReward-v0", root=str(voc_root)).open("val")
    network = build_network(NETWORK, 21, SIZE).eval()
    description = NetworkDescription.of(NETWORK, SIZE, dataset.class_names, dataset.palette)
    save_checkpoint(tmp_path, network, description)
    loaded, described = load_checkpoint(tmp_path)
    assert described == description
    assert loaded.stride == 4
    with torch.no_grad():
        assert torch.equal(loaded(strided_images()), network(strided_images()))


def test_checkpoints_hold_their_own_description(tmp_path):
    network = build_network("tiny-unet", 3, (16, 16)).eval()
    palette = np.array([[0, 0, 0], [1, 2, 3], [4, 5, 6]], np.uint8)
    description = NetworkDescription.of("tiny-unet", (16, 16), ["a", "b", "c"], palette)
    save_checkpoint(tmp_path, network, description)
    again, described = load_checkpoint(tmp_path)
    assert described == description
    np.testing.assert_array_equal(described.palette_array, palette)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    torch.testing.assert_close(again(images), network(images), rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_folder_may_be_a_string_and_nothing_else_than_a_path(tmp_path, monkeypatch):
    network = build_network("tiny-unet", 3, (16, 16)).eval()
    palette = np.zeros((3, 3), np.uint8)
    description = NetworkDescription.of("tiny-unet", (16, 16), ["a", "b", "c"], palette)
    monkeypatch.chdir(tmp_path)
    save_checkpoint(str(tmp_path), network, description)
    for place in (str(tmp_path), f"{tmp_path}/model.safetensors", "."):
        assert load_checkpoint(place)[1] == description
        assert start_from(network, description, place) == ()
    for other in (5, None, b"runs"):
        with pytest.raises(InputError, match="cannot be used"):
            load_checkpoint(other)  # pyright: ignore[reportArgumentType]


def test_bad_checkpoints_are_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    run(tmp_path / "run")
    path = tmp_path / "run/model.safetensors"
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"not a checkpoint", b""):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="is not a checkpoint of rss-train"):
            load_checkpoint(tmp_path / "run")
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--checkpoint", str(tmp_path / "run")])
    assert stop.value.code == 2
    path.write_bytes(content)
    with pytest.raises(SystemExit):
        evaluate.main(
            [
                "--checkpoint",
                str(tmp_path / "run"),
                "--env",
                "RSS/VOC-ImageReward-v0",
                "--root",
                "x",
            ]
        )
    assert "expected layout" in capsys.readouterr().err


@pytest.mark.parametrize("names", [["tree", "sky"], ["tree", "sky", "road", "car"]])
@pytest.mark.parametrize("kind", ["tiny-unet", "unet/resnet18"])
def test_a_network_of_other_classes_keeps_all_but_its_head(kind, names, tmp_path):
    def describe(names):
        return NetworkDescription.of(kind, (32, 32), names, np.zeros((len(names), 3), np.uint8))

    trained = build_network(kind, 2, (32, 32))
    save_checkpoint(tmp_path, trained, describe(["sky", "tree"]))
    network = build_network(kind, len(names), (32, 32))
    before = {name: value.clone() for name, value in network.body.state_dict().items()}
    state = torch.get_rng_state()
    head = start_from(network, describe(names), tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    part = "head." if kind == "tiny-unet" else "segmentation_head."
    assert head == tuple(name for name in before if name.startswith(part))
    assert len(head) == 2
    for name, value in network.body.state_dict().items():
        expected = before if name in head else trained.body.state_dict()
        assert torch.equal(value, expected[name])


@pytest.mark.usefixtures("one_thread")
def test_a_run_from_a_network_of_other_classes_says_so(tmp_path, folder_data, capsys):
    run(tmp_path / "shapes", "--algo", "psl")
    data = [f"--{name}={value}" for name, value in folder_data.items()]
    names = tmp_path / "val.txt"
    names.write_text("photo 0\n")
    run(
        tmp_path / "run", "--env", "RSS/Folder-ImageReward-v0", *data, "--val-split", str(names),
        "--start-from", str(tmp_path / "shapes"),
    )  # fmt: skip
    error = capsys.readouterr().err
    assert f"note: {tmp_path / 'shapes'} has other classes: its weights are kept but for" in error
    assert "starts anew for ground, tree, house (head.weight, head.bias)" in error
