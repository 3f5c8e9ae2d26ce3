"""Our own network: a U-Net small enough to train on two CPU cores in a minute or two."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

_CHANNELS_OF_A_GROUP = 8


def _group_normalisation(channels: int) -> nn.Module:
    """Each image is normalised by itself (Wu and He, arXiv 1803.08494)."""
    return nn.GroupNorm(channels // _CHANNELS_OF_A_GROUP, channels)


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _block(
    inputs: int,
    outputs: int,
    normalisation: Callable[[int], nn.Module],
    activation: Callable[[], nn.Module],
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            normalisation(outputs),
            activation(),
        ]
    return nn.Sequential(*layers)


class TinyUNet(nn.Module):
    """A U-Net (Ronneberger et al., 2015) of about 0.23 M parameters."""

    def __init__(
        self,
        num_classes: int,
        normalisation: Callable[[int], nn.Module] = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = _relu,
        widths: tuple[int, ...] = (16, 32, 48, 64),
    ):
        """Lay out the layers.

        Args:
            num_classes: C, channels of the output.
            normalisation: A layer for a number of channels.
            activation: A layer that comes behind each normalisation.
            widths: Channels of each level, the first at full resolution.
        """
        super().__init__()
        self.down = nn.ModuleList(
            _block(i, o, normalisation, activation)
            for i, o in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(deep + skip, skip, normalisation, activation)
            for deep, skip in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) of normalised images (B, 3, H, W), any H and W from 8."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = block(torch.cat([x, skip], 1))
        return self.head(x)


TINY_UNETS: dict[str, Callable[[int], TinyUNet]] = {
    "tiny-unet-silu": partial(TinyUNet, activation=nn.SiLU),
    "tiny-unet": TinyUNet,
    "tiny-unet-group": partial(TinyUNet, normalisation=_group_normalisation),
}

# With ReLU three of ten first weights were late to tell outlines apart, learning from labels as
# well as from scores. SiLU (Elfwing et al., arXiv 1702.03118) closes most of the gap: see
# benchmarks/NOTES.md.
