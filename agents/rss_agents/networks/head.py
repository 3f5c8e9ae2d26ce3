"""The bias of a network's last layer: how readily it answers with each class."""

from __future__ import annotations

import torch
from torch import nn

from rss_agents.networks.segmentation_network import SegmentationNetwork, evaluating


def head_bias(
    network: SegmentationNetwork, num_classes: int, image_size: tuple[int, int]
) -> nn.Parameter | None:
    """The parameter (C,) that is added to the logits of all pixels; None if there is none.

    It is the bias of the last layer that has one of C numbers, if a change of it is found in the
    logits of an image of size (H, W).
    """
    layers = [
        module
        for module in network.body.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))
        and module.bias is not None
        and module.bias.shape == (num_classes,)
    ]
    if not layers:
        return None
    bias = layers[-1].bias
    assert isinstance(bias, nn.Parameter)
    image = torch.zeros(1, *image_size, 3, dtype=torch.uint8, device=bias.device)
    with torch.no_grad(), evaluating(network):
        before, kept = network(image), bias.clone()
        change = torch.arange(num_classes, device=bias.device, dtype=bias.dtype)
        bias.add_(change)
        found = network(image) - before
        bias.copy_(kept)
    expected = change.view(1, -1, 1, 1).expand_as(found)
    return bias if torch.allclose(found, expected, atol=1e-2) else None
