"""The unit of advantages over scales and updates, by hand."""

from __future__ import annotations

import pytest
import torch

from rss_agents.losses.running_deviation import RunningDeviation


def test_one_deviation_serves_all_scales():
    """Of the cells that differ: those without an advantage say nothing of how scores vary."""
    coarse, fine = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0, -1.0, 1.0]])
    torch.testing.assert_close(RunningDeviation().observe([coarse, fine]), torch.tensor(3**0.5))


def test_updates_count_by_their_cells():
    """100 cells of deviation 1, then 1 cell of deviation 5, which changes little."""
    deviation = RunningDeviation()
    assert deviation.observe([torch.ones(100)]) == 1
    last = deviation.observe([torch.full((1,), 5.0)])
    assert last.item() == pytest.approx((125 / 101) ** 0.5)


@pytest.mark.parametrize("seen", [False, True])
def test_a_batch_that_tells_nothing_weighs_nothing_and_changes_nothing(seen):
    deviation = RunningDeviation()
    if seen:
        deviation.observe([torch.full((8,), 3.0)])
    assert deviation.observe([torch.zeros(2, 3), torch.zeros(5)]) == torch.inf
    assert deviation.observe([torch.full((8,), 3.0)]).item() == pytest.approx(3)


def test_goes_on_from_a_state():
    whole, resumed = RunningDeviation(), RunningDeviation()
    whole.observe([torch.ones(10)])
    resumed.set_state({name: value.clone() for name, value in whole.get_state().items()})
    deviations = [each.observe([torch.full((10,), 4.0)]) for each in (whole, resumed)]
    assert deviations[0] == deviations[1]
    assert 1 < deviations[1] < 4  # the first batch counts
