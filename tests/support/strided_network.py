"""A network that acts on cells of 4x4 pixels, and images for it."""

from __future__ import annotations

import torch

NETWORK = "fpn/tu-mobilenetv3_small_050@4"
SIZE = (32, 64)


def strided_images(count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *SIZE, 3), dtype=torch.uint8, generator=generator)
