"""How a network runs: normalisation by name, precision, compiled, strides."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rss_agents.networks.build import build_network
from rss_agents.networks.segmentation_network import SegmentationNetwork, upsample
from rss_env.errors import InputError
from strided_network import NETWORK, SIZE, strided_images

IMAGES = torch.randint(
    0, 256, (4, 16, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def small_network() -> SegmentationNetwork:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 5, 1)]
    return SegmentationNetwork(nn.Sequential(*layers), 5)


def gradients(network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the gradient of a loss on all parameters."""
    network.zero_grad()
    logits = network(IMAGES)
    logits.softmax(1)[:, 0].square().mean().backward()
    parts = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return logits.detach(), torch.cat(parts)


@pytest.mark.parametrize(
    ("name", "mixes"), [("tiny-unet-silu", True), ("tiny-unet", True), ("tiny-unet-group", False)]
)
def test_group_normalisation_does_not_mix_images(name, mixes):
    torch.manual_seed(0)
    network = build_network(name, 5, (16, 24))
    together, alone = network(IMAGES), torch.cat([network(image[None]) for image in IMAGES])
    assert torch.allclose(together, alone, atol=1e-5) != mixes
    assert sum(p.numel() for p in network.parameters()) == 227_333


def test_bfloat16_gives_float32_logits_close_to_those_of_float32():
    network = small_network()
    logits, gradient = gradients(network)
    network.accelerate("bfloat16", compiled=False)
    rounded, rounded_gradient = gradients(network)
    assert rounded.dtype == gradient.dtype == torch.float32
    assert not torch.equal(rounded, logits)
    assert (rounded - logits).norm() < 0.02 * logits.norm()
    assert (rounded_gradient - gradient).norm() < 0.05 * gradient.norm()


def test_float64_stays_float64():
    network = small_network()
    logits, gradient = gradients(network)
    network.accelerate("float64", compiled=False)
    exact, exact_gradient = gradients(network)
    assert exact.dtype == exact_gradient.dtype == torch.float64
    torch.testing.assert_close(exact.float(), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(exact_gradient.float(), gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs a C++ compiler")
def test_compiled_networks_give_the_same():
    network = small_network()
    logits, gradient = gradients(network)
    names = list(network.state_dict())
    network.accelerate("float32", compiled=True)
    compiled, compiled_gradient = gradients(network)
    torch.testing.assert_close(compiled, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled_gradient, gradient, rtol=1e-3, atol=1e-6)
    assert list(network.state_dict()) == names  # checkpoints do not know of it
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    network.eval()(IMAGES[:3])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted  # training alone


def test_where_nothing_compiles_is_told(monkeypatch):
    def broken(function):
        raise RuntimeError("no compiler\nand more of it")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(InputError, match="compile does not work here: no compiler$"):
        small_network().accelerate("float32", compiled=True)


def test_training_gives_logits_of_cells_and_evaluation_those_of_pixels():
    network = build_network(NETWORK, 5, SIZE)
    assert network.stride == 4
    assert network(strided_images()).shape == (2, 5, 8, 16)
    network.eval()
    with torch.no_grad():
        cells, pixels = network(strided_images()), network.pixel_values(strided_images())
    assert pixels.shape == (2, 5, *SIZE)
    expected = F.interpolate(cells, SIZE, mode="bilinear", align_corners=False)
    assert torch.equal(pixels, expected)


def test_upsampling_to_the_same_size_is_no_work():
    logits = torch.randn(1, 2, 4, 4)
    assert upsample(logits, (4, 4)) is logits
