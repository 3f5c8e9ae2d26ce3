"""Probabilities, maps and keys on odd shapes, for the tests of kernels that compare backends."""

from __future__ import annotations

import torch

# images, members, cells, classes
SHAPES = {
    "one cell": (1, 1, 1, 2),
    "odd": (3, 5, 77, 5),
    "sixty classes": (2, 3, 35, 60),
    "one image": (1, 7, 64, 3),
    "more cells than a tile": (2, 9, 1700, 21),
    "most classes": (2, 2, 9, 255),
}


def belief_problem(images, members, cells, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(images, classes, cells, generator=generator).mul(2).softmax(1)
    maps = torch.randint(0, classes, (images, members, cells), generator=generator)
    return probabilities, maps.to(torch.uint8)


def scales_of(cells):
    """Offsets of up to three scales that make up the cells."""
    return sorted({0, cells // 5, cells // 3, cells})


def sampling_problem(images: int, classes: int, cells: int, dtype=torch.float32, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, cells, generator=generator, dtype=dtype)
    keys = torch.randint(-(2**63), 2**63 - 1, (images,), generator=generator)
    return (3 * logits).softmax(1), keys
