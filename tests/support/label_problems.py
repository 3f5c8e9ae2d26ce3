"""Labels, maps and flat actions on odd shapes, for the tests of kernels that compare them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rss_env.kernels.label_table import label_table

# images, groups, members, rows, columns of cells, scale, classes, share of void
SHAPES = {
    "one cell": (1, 1, 1, 1, 1, 1, 2, 0.0),
    "one coarse cell": (1, 1, 1, 1, 1, 8, 2, 0.3),
    "odd": (3, 5, 3, 7, 11, 3, 5, 0.2),
    "pixels": (4, 2, 8, 9, 13, 1, 21, 0.1),
    "sixty classes": (2, 3, 2, 5, 4, 4, 60, 0.1),
    "most classes": (2, 2, 2, 3, 5, 2, 255, 0.0),
    "all void": (2, 2, 3, 4, 4, 2, 3, 1.0),
    "all void pixels": (2, 2, 3, 4, 4, 1, 3, 1.0),
    "single row": (2, 2, 2, 1, 17, 2, 4, 0.1),
    "wide cells": (2, 3, 2, 2, 3, 17, 6, 0.1),  # of more pixels than a byte counts
}
SCALES = (6, 3, 1)
COLUMNS = [18 // scale for scale in SCALES]  # of `action_problem`


def problem(images, groups, members, rows, columns, scale, classes, void, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (images, rows * scale, columns * scale), dtype=np.uint8)
    labels[random.random(labels.shape) < void] = 255
    maps = random.integers(0, classes, (groups, members, rows * columns), dtype=np.uint8)
    index = random.integers(0, images, groups)
    mirrored = random.random(groups) < 0.5
    return tuple(torch.from_numpy(a) for a in (labels, maps, index, mirrored))


def action_problem(groups: int = 5, members: int = 3, classes: int = 7, seed: int = 0) -> Any:
    """Labels (4, 12, 18) with void, their tables, flat actions of three scales, half flipped."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (4, 12, 18), dtype=np.uint8)
    labels[random.random(labels.shape) < 0.2] = 255
    tables = [label_table(torch.from_numpy(labels), classes, scale) for scale in SCALES]
    cells = sum(table.shape[1] for table in tables)
    actions = torch.from_numpy(random.integers(0, classes, (groups, members, cells), np.uint8))
    index = torch.from_numpy(random.integers(0, 4, groups))
    return labels, tables, actions, index, torch.arange(groups) % 2 == 0


def wild_actions(actions: torch.Tensor) -> torch.Tensor:
    """Flat actions of `action_problem` with classes that there are not in every third cell."""
    wild = actions.clone()
    wild[..., ::3] = torch.tensor([7, 100, 255], dtype=torch.uint8).repeat(99)[
        : wild[0, 0, ::3].numel()
    ]
    return wild


def arrays(tensors) -> Any:
    return [tensor.numpy() for tensor in tensors]


def assert_alike(tensor: object, array: object) -> None:
    """Tensors gave a tensor, arrays gave an array, of the same values."""
    assert isinstance(tensor, torch.Tensor)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(tensor.numpy(), array)
