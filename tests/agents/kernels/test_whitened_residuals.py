"""Whitened residuals: the backend in numba against its reference."""

from __future__ import annotations

import pytest
import torch

from loss_problems import scored_groups
from rss_agents.kernels.whitened_residuals import whitened_residuals


@pytest.mark.parametrize("offset", [None, 0.3, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("images", "number", "members"), [(1, 1, 1), (3, 2, 3), (5, 9, 7)])
def test_faces_of_whitened_residuals_agree(images, number, members, dtype, offset):
    predicted, scores, covariance = scored_groups(1, images, number, members)
    present = torch.rand(images, number, 1, generator=torch.Generator().manual_seed(0)) < 0.7
    present[-1] = False
    common = None if offset is None else torch.full((images,), offset, dtype=dtype)
    residuals = (predicted - scores).flatten(1).to(dtype)
    noise = torch.linspace(0.1, 1.2, images * number * members).view(images, -1).to(dtype)
    reference, found = (
        whitened_residuals(
            residuals,
            covariance.to(dtype),
            noise,
            present.expand(-1, -1, members).flatten(1),
            members,
            common,
            backend=backend,
        )
        for backend in ("reference", "numba")
    )
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-9)
    assert found.any() or members == 1
