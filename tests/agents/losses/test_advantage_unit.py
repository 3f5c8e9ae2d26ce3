"""The unit of advantages over scales and updates, by hand."""

from __future__ import annotations

import pytest
import torch

from rss_agents.losses.advantage_unit import AdvantageUnit


def test_one_unit_serves_all_scales():
    """Of the cells that differ: those without an advantage say nothing of how scores vary."""
    coarse, fine = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0, -1.0, 1.0]])
    torch.testing.assert_close(AdvantageUnit().observe([coarse, fine]), torch.tensor(3**0.5))


@pytest.mark.parametrize("before", [0, 2])
def test_the_first_batch_that_tells_anything_sets_it(before):
    unit = AdvantageUnit()
    for _ in range(before):
        assert unit.observe([torch.zeros(2, 3), torch.zeros(5)]) == torch.inf
    for size in (3.0, 0.5, 7.0):
        assert unit.observe([torch.full((8,), size)]) == 3
    assert unit.observe([torch.zeros(8)]) == torch.inf  # which weighs nothing, then as well


def test_goes_on_from_a_state():
    whole, resumed = AdvantageUnit(), AdvantageUnit()
    whole.observe([torch.full((10,), 2.0)])
    resumed.set_state({name: value.clone() for name, value in whole.get_state().items()})
    assert [each.observe([torch.full((10,), 4.0)]) for each in (whole, resumed)] == [2, 2]
