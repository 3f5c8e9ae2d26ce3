"""Cells on pixels, alike by reference and by numba."""

from __future__ import annotations

import pytest
import torch

from rss_env.kernels.paint_cells import paint_cells


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 7, 8, 16])
@pytest.mark.parametrize(
    "shape", [(3, 5, 7), (1, 1, 1), (1, 2, 9), (2, 3, 4, 1), (4, 1, 33), (6, 2)]
)
def test_painted_cells_are_those_of_the_reference(shape, scale):
    columns = shape[-1]
    cells = torch.randint(0, 256, shape, dtype=torch.uint8).flatten(-2)
    want = paint_cells(cells, columns, scale, backend="reference")
    assert want.shape == (*shape[:-2], shape[-2] * scale, columns * scale)
    found = paint_cells(cells, columns, scale, backend="numba")
    torch.testing.assert_close(found, want, rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("scale", [1, 2])
def test_painted_maps_are_fresh_and_of_any_type(backend, scale):
    for dtype in (torch.uint8, torch.int64):
        cells = torch.tensor([[0, 1, 2, 3, 4, 5]], dtype=dtype)
        maps = paint_cells(cells[:, :4], 2, scale, backend=backend)
        assert maps.dtype == dtype
        assert maps[0, :, 0].tolist() == [0] * scale + [2] * scale
        assert maps[0, -1].tolist() == [2] * scale + [3] * scale
        maps.zero_()
        assert cells.sum() == 15


def test_no_maps_are_painted_of_none():
    assert paint_cells(torch.empty(0, 6, dtype=torch.uint8), 3, 2).shape == (0, 4, 6)
