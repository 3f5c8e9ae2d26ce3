"""Cells of each class: both backends against one-hot sums."""

from __future__ import annotations

import pytest
import torch

from rss_agents.kernels.map_counts import map_counts


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("classes", [2, 19, 60])
def test_cells_of_each_class_are_counted(classes, backend):
    maps = torch.randint(0, classes, (3, 2, 90), dtype=torch.uint8)
    found = map_counts(maps, (0, 7, 90), classes, backend=backend)
    for s, part in enumerate((maps[..., :7], maps[..., 7:])):
        expected = torch.nn.functional.one_hot(part.long(), classes).sum(2)
        assert found[:, :, s].equal(expected.float())
