"""The pair-wise spatial difference: by hand, by its definition, and its backends compared."""

from __future__ import annotations

import itertools

import pytest
import torch

from belief_problems import SHAPES, belief_problem
from loss_problems import SCORES, loss_problem
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference

MAPS = torch.tensor(
    [[[0, 1, 2, 2], [0, 0, 2, 2], [1, 1, 2, 0]], [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]]],
    dtype=torch.uint8,
)


def test_pairwise_spatial_difference_by_hand():
    # Maps 0 and 1 differ in cell 1 (rho 1/4), 0 and 2 in cells 0 and 3, 1 and 2 in 0, 1 and 3.
    expected = torch.tensor(
        [
            [0.5 / 0.5, 1.0 / 0.25, 0.0, 0.5 / 0.5],
            [-0.5 / 0.75, -1.0 / 0.25 - 0.5 / 0.75, 0.0, -0.5 / 0.75],
            [-0.5 / 0.5 + 0.5 / 0.75, 0.5 / 0.75, 0.0, -0.5 / 0.5 + 0.5 / 0.75],
        ],
        dtype=torch.float64,
    )
    advantages = pairwise_spatial_difference(SCORES, MAPS)
    torch.testing.assert_close(advantages[0], expected / 2)
    assert (advantages[1] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_pairwise_spatial_difference_equals_its_definition(seed):
    _, maps, scores = loss_problem(seed)
    advantages = pairwise_spatial_difference(scores, maps)
    batch, members, cells = maps.shape
    for b, k, p in itertools.product(range(batch), range(members), range(cells)):
        total = 0.0
        for j in range(members):
            if j != k and maps[b, k, p] != maps[b, j, p]:
                share = (maps[b, k] != maps[b, j]).double().mean()
                total += float((scores[b, k] - scores[b, j]) / share)
        assert advantages[b, k, p].item() == pytest.approx(total / (members - 1), abs=1e-12)


def test_equal_maps_have_no_advantage():
    maps = torch.ones(2, 4, 6, dtype=torch.uint8)
    assert (pairwise_spatial_difference(torch.rand(2, 4), maps) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape[1] > 1])
def test_pairwise_difference_faces_agree(name, dtype):
    _, maps = belief_problem(*SHAPES[name])
    maps[0, 1] = maps[0, 0]  # a pair of equal maps
    scores = torch.rand(maps.shape[:2], dtype=dtype)
    reference, found = (
        pairwise_spatial_difference(scores, maps, backend=i) for i in ("reference", "numba")
    )
    assert found.dtype == dtype
    torch.testing.assert_close(found, reference)


def test_pairwise_difference_of_maps_that_are_not_contiguous():
    _, maps = belief_problem(3, 4, 35, 3)
    scores = torch.rand(3, 4)
    turned = maps.transpose(1, 2).contiguous().transpose(1, 2)
    expected = pairwise_spatial_difference(scores, maps, backend="reference")
    torch.testing.assert_close(pairwise_spatial_difference(scores, turned), expected)
