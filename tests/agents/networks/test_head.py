"""Finding the bias of a network's last layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rss_agents.networks.build import build_network
from rss_agents.networks.head import head_bias
from rss_agents.networks.segmentation_network import SegmentationNetwork

CLASSES = 5


@pytest.mark.parametrize("name", ["tiny-unet-silu", "unet/resnet18", "fpn/resnet18@4"])
def test_the_bias_shifts_the_logits_of_all_pixels(name):
    network = build_network(name, CLASSES, (64, 64)).eval()
    bias = head_bias(network, CLASSES, (64, 64))
    assert bias is not None
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        before = network(image)
        bias[3] += 2
        change = network(image) - before
    torch.testing.assert_close(change[:, 3], torch.full_like(change[:, 3], 2.0))
    assert change[:, [0, 1, 2, 4]].abs().max() < 1e-5


@pytest.mark.parametrize(
    "body",
    [
        nn.Conv2d(3, CLASSES, 1, bias=False),
        nn.Sequential(nn.Conv2d(3, CLASSES, 1), nn.BatchNorm2d(CLASSES), nn.Tanh()),
        nn.Sequential(nn.Conv2d(3, CLASSES, 1), nn.Conv2d(CLASSES, CLASSES, 1, bias=False)),
    ],
    ids=["no bias", "saturated", "mixed afterwards"],
)
def test_a_bias_that_does_something_else_is_none(body):
    network = SegmentationNetwork(body, CLASSES)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert head_bias(network, CLASSES, (64, 64)) is None
    after = network.state_dict()
    assert all(value.equal(after[name]) for name, value in before.items())
    assert network.training
