"""The network that judges: an image and a map in, a score out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

_CLASS_FEATURES = 8
_WIDTHS = (24, 32, 48, 64)
_GROUPS = 8


class QualityNetwork(nn.Module):
    """Small convolutions over image and map, pooled, beside the shares of the classes."""

    def __init__(self, num_classes: int):
        """Start from random weights, for maps of C classes."""
        super().__init__()
        self.num_classes = num_classes
        self.classes = nn.Embedding(num_classes, _CLASS_FEATURES)
        layers, before = [], 3 + _CLASS_FEATURES
        for width in _WIDTHS:
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1),
                nn.GroupNorm(_GROUPS, width),
                nn.SiLU(),
            ]
            before = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(2 * before + num_classes, 1)

    def forward(self, images: torch.Tensor, action_maps: torch.Tensor) -> torch.Tensor:
        """Logits of scores.

        Args:
            images: (N, H, W, 3) uint8.
            action_maps: (N, H, W) uint8, classes 0..C-1.

        Returns:
            (N,) float32.
        """
        index = action_maps.long()
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
        drawn = self.classes(index).permute(0, 3, 1, 2)
        found = self.layers(torch.cat([pixels, drawn], 1)).flatten(2)
        shares = F.one_hot(index, self.num_classes).flatten(1, 2).float().mean(1)
        pooled = torch.cat([found.mean(2), found.amax(2), shares], 1)
        return self.head(pooled)[:, 0]
