"""The uncertainty of cells: both backends against the variance of labels."""

from __future__ import annotations

import itertools

import pytest
import torch

from belief_problems import SHAPES, belief_problem, scales_of
from rss_agents.kernels.cell_uncertainty import cell_uncertainty


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_uncertainty_of_cells_is_the_variance_of_their_labels(name, dtype):
    probabilities, _ = belief_problem(*SHAPES[name])
    probabilities = probabilities.to(dtype)
    offsets = scales_of(probabilities.shape[2])
    weights = torch.rand(len(probabilities), len(offsets) - 1, probabilities.shape[1], dtype=dtype)
    expected = torch.zeros(len(probabilities), offsets[-1], dtype=dtype)
    for s, (start, stop) in enumerate(itertools.pairwise(offsets)):
        for c in range(probabilities.shape[1]):
            chance = probabilities[:, c, start:stop]
            expected[:, start:stop] += weights[:, s, c, None] * chance * (1 - chance)
    turned = probabilities.transpose(1, 2).contiguous().transpose(1, 2)
    for backend in ("reference", "numba"):
        found = cell_uncertainty(turned, weights, offsets, backend=backend)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
