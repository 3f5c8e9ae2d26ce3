"""Exported programs, loaded again without this package's networks, give what the network gave."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rss_agents.export import ExportConfig, export, main
from rss_agents.networks import programs
from rss_agents.networks.checkpoint import NetworkDescription
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.errors import InputError
from trained_networks import CLASSES, SIZE, trained

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("one_thread")
NETWORKS = ["tiny-unet-silu", "tiny-unet", "fpn/tu-mobilenetv3_small_050@4"]


def random_images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, *SIZE, 3), dtype=torch.uint8, generator=generator)


def run_onnx(path: Path, images: torch.Tensor) -> torch.Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (values,) = session.run(["values"], {"images": images.numpy()})
    return torch.from_numpy(values)


def check(network: SegmentationNetwork, config: ExportConfig, output: str) -> None:
    """Both files give what the network gives, for batches of any size, and describe it."""
    assert config.onnx is not None
    assert config.program is not None
    extra = {"description.json": ""}
    module = torch.export.load(config.program, extra_files=extra).module()
    for count in (1, 2, 5):
        images = random_images(count)
        with torch.no_grad():
            expected = network.pixel_values(images)
        assert expected.shape == (count, len(CLASSES), *SIZE)
        torch.testing.assert_close(module(images), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(run_onnx(config.onnx, images), expected, rtol=1e-3, atol=1e-4)
    (entry,) = onnx.load(config.onnx).metadata_props
    assert entry.key == "description"
    assert entry.value == extra["description.json"]
    about = json.loads(entry.value)
    assert about["class_names"] == list(CLASSES)
    assert about["image_size"] == list(SIZE)
    assert np.array(about["palette"]).shape == (3, 3)
    assert about["output"] == output


@pytest.mark.parametrize("name", NETWORKS)
def test_both_kinds_of_program_give_what_the_network_gives(name, tmp_path):
    network = trained(name, random_images(2), tmp_path / "run")
    config = ExportConfig(
        tmp_path / "run", onnx=tmp_path / "new/n.onnx", program=tmp_path / "new/n.pt2"
    )
    assert export(config) == [config.onnx, config.program]
    check(network, config, "logits")
    assert config.onnx is not None
    onnx.checker.check_model(config.onnx)
    here = str(Path(__file__).parents[3]).encode()
    for path in (tmp_path / "new").iterdir():
        assert here not in path.read_bytes()  # no traces of where it was made


def test_decisions_for_a_metric_are_part_of_the_program(tmp_path):
    def observe(network: SegmentationNetwork) -> None:
        beliefs = torch.tensor([0.9, 0.07, 0.03]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        network.decide.observe(beliefs, "miou", temperature=0.5)

    network = trained("tiny-unet", random_images(2), tmp_path / "run", prepare=observe)
    with torch.no_grad():
        logits, worths = network(random_images(2)), network.pixel_values(random_images(2))
    assert (logits.argmax(1) != worths.argmax(1)).any()
    config = ExportConfig(tmp_path / "run", onnx=tmp_path / "n.onnx", program=tmp_path / "n.pt2")
    export(config)
    check(network, config, "worths")


class Branching(nn.Module):
    """What no tracer can follow: a choice by the values of an image."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images) if images.mean().item() > 0 else -self.layer(images)


def test_a_network_that_cannot_be_traced_is_refused():
    description = NetworkDescription.of("my:network", SIZE, CLASSES, np.zeros((3, 3), np.uint8))
    network = SegmentationNetwork(Branching(), 3)
    with pytest.raises(InputError, match=r"'my:network' cannot be traced by torch.export: "):
        programs.program_of(network, description)


def test_what_is_missing_or_too_large_is_said_and_nothing_written(tmp_path, capsys, monkeypatch):
    trained("tiny-unet", random_images(2), tmp_path / "run")
    common = ["--checkpoint", str(tmp_path / "run"), "--program", str(tmp_path / "n.pt2")]
    common += ["--onnx", str(tmp_path / "n.onnx")]

    def refused(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main([*common, *arguments])
        assert stop.value.code == 2
        assert not list(tmp_path.glob("n.*"))
        return capsys.readouterr().err

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        assert "onnxscript is not installed; get it with: pip install 'rss-env[onnx]'" in refused()
    with monkeypatch.context() as patch:
        patch.setattr(programs, "_ONNX_LIMIT", 1000)
        assert "holds less than 2 GiB, the network has 9" in refused()
    assert "which no library has" in refused("--encoder", str(tmp_path / "n.safetensors"))
