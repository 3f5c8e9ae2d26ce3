"""Checkpoints: they hold their own description, and what is none is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rss_agents import evaluate
from rss_agents.command_line import DataConfig
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
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
