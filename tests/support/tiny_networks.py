"""A tiny network of six classes, for the tests of algorithms."""

from __future__ import annotations

import torch

from rss_agents.networks.build import build_network

CLASSES, SIZE = 6, 16


def tiny_network(seed=0):
    torch.manual_seed(seed)
    return build_network("tiny-unet", CLASSES, (SIZE, SIZE))
