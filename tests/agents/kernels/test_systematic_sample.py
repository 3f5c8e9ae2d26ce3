"""Systematic samples: backends compared, and sums over a sample against enumeration."""

from __future__ import annotations

import pytest
import torch

from rss_agents.kernels.systematic_sample import sample_offsets, systematic_sample

# images, offsets, most
SHAPES = {
    "one cell": (1, (0, 1), 1),
    "all taken": (2, (0, 3, 12), 9),
    "some taken": (3, (0, 4, 20, 84), 16),
    "one drawn": (2, (0, 7, 50), 1),
    "one image": (1, (0, 600), 256),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("certain", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("name", SHAPES)
def test_faces_agree(name, certain, dtype):
    images, offsets, most = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    importance = torch.rand(images, offsets[-1], generator=generator, dtype=dtype)
    importance[torch.rand(importance.shape, generator=generator) < certain] = 0
    starts = torch.rand(images, len(offsets) - 1, generator=generator)
    (cells, counts), found = (
        systematic_sample(importance, starts, offsets, most, 0.1, backend=i)
        for i in ("reference", "numba")
    )
    assert cells.shape == (images, sample_offsets(offsets, most)[-1])
    assert found[0].equal(cells)
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[1], counts)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_sums_over_a_sample_are_right_on_average(backend):
    """Over all starts, of which there are as many as matter here, every cell counts once."""
    importance = torch.tensor([[4.0, 1.0, 0.0, 2.0, 3.0, 0.0, 5.0]], dtype=torch.float64)
    number = 20_000
    starts = ((torch.arange(number) + 0.5) / number).double()[:, None]
    cells, counts = systematic_sample(
        importance.expand(number, -1), starts, (0, 7), 3, 0.1, backend=backend
    )
    totals = torch.zeros(7, dtype=torch.float64).index_add(0, cells.flatten(), counts.flatten())
    torch.testing.assert_close(
        totals / number, torch.ones(7, dtype=torch.float64), rtol=0, atol=1e-3
    )
    assert (cells.diff(dim=1) >= 0).all()
