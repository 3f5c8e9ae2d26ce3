"""Networks that act on cells: logits at their own stride, pooled from there, shown as pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rss_agents import train
from rss_agents.algorithms.registry import Algorithm
from rss_agents.command_line import DataConfig
from rss_agents.evaluate import EvalConfig, evaluate_checkpoint
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
from rss_agents.networks.segmentation_network import upsample
from rss_agents.training.config import TrainConfig
from rss_env.errors import InputError

NETWORK = "fpn/tu-mobilenetv3_small_050@4"
SIZE = (32, 64)


def images(count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *SIZE, 3), dtype=torch.uint8, generator=generator)


def test_training_gives_logits_of_cells_and_evaluation_those_of_pixels():
    network = build_network(NETWORK, 5, SIZE)
    assert network.stride == 4
    assert network(images()).shape == (2, 5, 8, 16)
    network.eval()
    with torch.no_grad():
        cells, pixels = network(images()), network.pixel_values(images())
    assert pixels.shape == (2, 5, *SIZE)
    expected = F.interpolate(cells, SIZE, mode="bilinear", align_corners=False)
    assert torch.equal(pixels, expected)


def test_the_stride_decides_nothing_but_where_the_decoder_stops():
    torch.manual_seed(0)
    strided = build_network(NETWORK, 5, SIZE).eval()
    torch.manual_seed(0)
    plain = build_network(NETWORK.removesuffix("@4"), 5, SIZE).eval()
    assert plain.stride == 1
    with torch.no_grad():
        cells = strided(images())
        own = F.interpolate(cells, SIZE, mode="bilinear", align_corners=True)  # the library's way
        torch.testing.assert_close(plain(images()), own)


def test_upsampling_to_the_same_size_is_no_work():
    logits = torch.randn(1, 2, 4, 4)
    assert upsample(logits, (4, 4)) is logits


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fpn/resnet18@8", "not stride 8 but 4"),
        ("deeplabv3/resnet18@4", "not stride 4 but 8"),
        ("unet/resnet18@4", "gives every pixel logits of its own; valid with @stride: .*upernet"),
        ("fpn/resnet18@", "such as @4"),
        ("fpn/resnet18@-4", "such as @4"),
        ("fpn/resnet18@0", "such as @4"),
        ("tiny-unet@4", "unknown network 'tiny-unet@4'"),
    ],
)
def test_a_stride_that_is_not_there_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        build_network(name, 3, (64, 64))


def small_run(out: Path, root: Path, algo: Algorithm, **options: Any) -> TrainConfig:
    data = DataConfig("RSS/VOC-ImageReward-v0", root=str(root))
    sizes: Any = {"image_size": (32, 64), "num_images": 2, "group_size": 2, "updates": 1}
    return TrainConfig(out, data, algo, **(sizes | options))


def test_scales_finer_than_the_network_are_refused_before_anything_is_written(tmp_path, voc_root):
    config = small_run(tmp_path / "run", voc_root, "rss", network=NETWORK, scales=(8, 4, 2))
    with pytest.raises(InputError, match="multiples of 4"):
        train.train(config)
    assert not config.out.exists()


@pytest.mark.parametrize("algo", ["rss", "psl", "psl-multiscale", "rloo"])
def test_every_kind_of_learner_trains_at_the_stride(algo: Algorithm, tmp_path, voc_root):
    config = small_run(tmp_path / "run", voc_root, algo, network=NETWORK, scales=(16, 8, 4))
    result = train.train(config)
    found = evaluate_checkpoint(EvalConfig(config.out, config.data))
    assert found["miou"] == pytest.approx(result["miou"], rel=1e-6)  # the stride is remembered
    assert json.loads((config.out / "config.json").read_text())["network"] == NETWORK


def test_plain_policy_gradients_act_at_scales_coarser_than_pixels(tmp_path, voc_root):
    config = small_run(tmp_path / "run", voc_root, "rloo", scales=(8, 4))
    assert train.train(config)["score_queries"] == 4  # of the finest scale alone


def test_a_checkpoint_keeps_its_stride(tmp_path, voc_root):
    dataset = DataConfig("RSS/VOC-ImageReward-v0", root=str(voc_root)).open("val")
    network = build_network(NETWORK, 21, SIZE).eval()
    description = NetworkDescription.of(NETWORK, SIZE, dataset.class_names, dataset.palette)
    save_checkpoint(tmp_path, network, description)
    loaded, described = load_checkpoint(tmp_path)
    assert described == description
    assert loaded.stride == 4
    with torch.no_grad():
        assert torch.equal(loaded(images()), network(images()))
