"""Rewards of cells: of flat actions and of one scale, against the reference and by hand."""

from __future__ import annotations

import pytest
import torch

from label_problems import (
    COLUMNS,
    SHAPES,
    action_problem,
    arrays,
    assert_alike,
    problem,
    wild_actions,
)
from rss_env.kernels.cell_rewards import action_rewards, cell_rewards
from rss_env.kernels.label_table import label_table

BACKENDS = ["numba", "reference"]


@pytest.mark.parametrize("name", SHAPES)
def test_rewards_of_cells_are_those_of_the_reference(name):
    _, _, _, _, columns, scale, classes, _ = SHAPES[name]
    labels, maps, index, mirrored = problem(*SHAPES[name], seed=1)
    table, weights = label_table(labels, classes, scale, backend="reference"), torch.rand(classes)
    expected, found = (
        cell_rewards(maps, table, index, mirrored, columns, weights, backend=backend)
        for backend in ("reference", "numba")
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [1, 5])
def test_flat_actions_are_rewarded_as_their_parts(backend, groups):
    _, tables, actions, index, mirrored = action_problem(groups, 1 if groups == 1 else 3)
    weights = torch.rand(7)
    parts = actions.split([table.shape[1] for table in tables], -1)
    rewards = [
        cell_rewards(part, table, index, mirrored, columns, weights, backend=backend)
        for part, table, columns in zip(parts, tables, COLUMNS, strict=True)
    ]
    found = action_rewards(actions, tables, index, mirrored, COLUMNS, weights, backend=backend)
    assert found.equal(torch.cat(rewards, -1))


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_are_rewarded_as_tensors(backend):
    _, tables, actions, index, mirrored = action_problem()
    weights = torch.rand(7)
    assert_alike(
        action_rewards(actions, tables, index, mirrored, COLUMNS, weights, backend=backend),
        action_rewards(
            actions.numpy(),
            arrays(tables),
            index.numpy(),
            mirrored.numpy(),
            COLUMNS,
            weights,
            backend=backend,
        ),
    )


def test_cell_rewards_by_hand():
    labels = torch.tensor([[[0, 0, 1, 255], [0, 1, 255, 255]]], dtype=torch.uint8)
    table = label_table(labels, 2, 2)
    maps = torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8)
    index, weights = torch.zeros(1, dtype=torch.int64), torch.tensor([1.0, 2.0])
    plain = cell_rewards(maps, table, index, torch.tensor([False]), 2, weights)
    torch.testing.assert_close(plain, torch.tensor([[[0.75, 2.0], [0.5, 0.0]]]))
    mirrored = cell_rewards(maps, table, index, torch.tensor([True]), 2, weights)
    torch.testing.assert_close(mirrored, torch.tensor([[[0.0, 0.5], [2.0, 0.75]]]))


def test_unchecked_classes_earn_nothing():
    labels, _, index, mirrored = problem(1, 1, 2, 4, 4, 2, 3, 0.0)
    for scale, cells in ((2, 16), (1, 64)):
        table = label_table(labels, 3, scale)
        wild = torch.full((1, 2, cells), 200, dtype=torch.uint8)
        assert cell_rewards(wild, table, index, mirrored, 8 // scale, torch.ones(3)).sum() == 0


def test_unchecked_actions_earn_nothing():
    _, tables, actions, index, mirrored = action_problem()
    weights, wild = torch.rand(7), wild_actions(actions)
    legal = wild < 7
    rewards = action_rewards(wild, tables, index, mirrored, COLUMNS, weights)
    assert (rewards[~legal] == 0).all()
    expected = action_rewards(
        torch.where(legal, wild, 0), tables, index, mirrored, COLUMNS, weights
    )
    assert rewards[legal].equal(expected[legal])
