"""The ledger of memory: right for a network worked out by hand, and as much as is allocated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.memory.computed import computed_peak, footprint, kept_for_backward
from benchmarks.memory.measured import measured_tensors
from rss_agents.networks.build import build_network
from rss_agents.networks.segmentation_network import SegmentationNetwork

CLASSES, IMAGES, SIZE = 3, 2, (32, 64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_by_hand(dtype):
    """A convolution keeps its input, and a sigmoid its output."""
    width = torch.finfo(dtype).bits // 8
    with torch.device("meta"):
        body = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sigmoid(), nn.Conv2d(8, CLASSES, 1))
        network = SegmentationNetwork(body, CLASSES)
    found = kept_for_backward(network, IMAGES, SIZE, dtype)
    pixels = IMAGES * SIZE[0] * SIZE[1]
    expected = width * pixels * (3 + 8)
    if dtype == torch.bfloat16:  # autocast keeps its copies of the weights as well
        expected += width * (3 * 8 + 8 * CLASSES)
    assert found == expected
    assert not torch.is_autocast_enabled("cuda")


def test_the_ledger_says_what_is_allocated():
    """Blocks of 512 bytes are the ledger's unit; a network of many small tensors shows it."""
    meta = build_network("tiny-unet", CLASSES, SIZE, device="meta")
    computed = computed_peak(meta, IMAGES, SIZE, torch.float32)
    measured = measured_tensors("tiny-unet", CLASSES, IMAGES, SIZE)
    assert computed == pytest.approx(measured, rel=0.03)


def test_footprint_of_a_network():
    single, half = (
        footprint("tiny-unet", CLASSES, IMAGES, SIZE, dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    network = build_network("tiny-unet", CLASSES, SIZE)
    assert single.parameters == 4 * sum(p.numel() for p in network.parameters())
    assert 4 * single.parameters + single.kept < single.peak
    assert half.kept < 0.7 * single.kept
