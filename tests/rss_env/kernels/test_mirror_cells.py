"""Mirrored grids of several scales: both backends against slices."""

from __future__ import annotations

import pytest
import torch

from rss_env.kernels.mirror_cells import mirror_cells


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 4)])
def test_grids_are_mirrored_row_by_row(shape, dtype, backend):
    values = torch.randint(0, 200, (3, *shape, 12 + 35)).to(dtype)
    mirrored = torch.tensor([True, False, True])
    turned = values.movedim(-1, 0).contiguous().movedim(0, -1)
    found = mirror_cells(turned, mirrored, (4, 7), (0, 12, 47), backend=backend)
    coarse = found[..., :12].unflatten(-1, (3, 4)), values[..., :12].unflatten(-1, (3, 4))
    fine = found[..., 12:].unflatten(-1, (5, 7)), values[..., 12:].unflatten(-1, (5, 7))
    for own, plain in (coarse, fine):
        assert own[1].equal(plain[1])
        assert own[::2].equal(plain[::2].flip(-1))
