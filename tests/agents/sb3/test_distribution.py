"""The distribution of maps, against that of Stable-Baselines3."""

from __future__ import annotations

import pytest
import torch
from stable_baselines3.common.distributions import MultiCategoricalDistribution, kl_divergence

from rss_agents.sb3 import MapCategoricalDistribution
from rss_env.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("by_cell", [True, False])
def test_the_batched_distribution_is_sb3s(by_cell):
    batch, cells, classes = 3, 7, 5
    logits = torch.randn(batch, cells * classes, dtype=torch.float64, requires_grad=True)
    theirs = MultiCategoricalDistribution([classes] * cells).proba_distribution(logits)
    parameters = logits if by_cell else logits.unflatten(1, (cells, classes)).transpose(1, 2)
    ours = MapCategoricalDistribution([classes] * cells).proba_distribution(parameters)
    actions = theirs.sample()
    assert torch.equal(ours.mode(), theirs.mode())
    for name, arguments in (("log_prob", (actions,)), ("entropy", ())):
        one, other = (getattr(found, name)(*arguments) for found in (ours, theirs))
        torch.testing.assert_close(one, other)
        slopes = [torch.autograd.grad(x.sum(), logits, retain_graph=True) for x in (one, other)]
        torch.testing.assert_close(*slopes)
    torch.testing.assert_close(ours.log_prob(actions.float()), theirs.log_prob(actions))
    assert torch.equal(ours.actions_from_params(parameters, deterministic=True), theirs.mode())


def test_samples_follow_the_probabilities_and_the_global_seed():
    logits = torch.tensor([[0.0, 1.0, -1.0]]).repeat(20_000, 1)[..., None]
    distribution = MapCategoricalDistribution([3]).proba_distribution(logits)
    torch.manual_seed(0)
    drawn = distribution.sample()
    assert drawn.shape == (20_000, 1)
    assert drawn.dtype == torch.int64
    shares = drawn[:, 0].bincount(minlength=3) / len(drawn)
    torch.testing.assert_close(shares, logits[0, :, 0].softmax(0), atol=0.015, rtol=0)
    assert not torch.equal(drawn, distribution.sample())
    torch.manual_seed(0)
    assert torch.equal(drawn, distribution.sample())


def test_divergences_are_sb3s():
    cells, classes = 4, 3
    logits = torch.randn(2, 5, cells * classes, dtype=torch.float64)
    theirs, ours, means = (
        [make(cells_).proba_distribution(part) for part in logits]
        for make, cells_ in (
            (lambda _: MultiCategoricalDistribution([classes] * cells), None),
            (lambda c: MapCategoricalDistribution([classes] * cells, c), None),
            (lambda c: MapCategoricalDistribution([classes] * cells, c), (4,)),
        )
    )
    want = kl_divergence(*theirs)
    torch.testing.assert_close(kl_divergence(*ours), want)
    torch.testing.assert_close(kl_divergence(*means), want / cells)
    assert (want > 0).all()


def test_means_are_of_cells_then_of_scales():
    values = torch.tensor([[1.0, 3.0, 10.0]])
    logits = torch.zeros(1, 2, 3)
    for cells, mean in (((2, 1), 6.0), (None, 14.0)):
        distribution = MapCategoricalDistribution([2] * 3, cells).proba_distribution(logits)
        of_cells = distribution._of_cells
        assert of_cells.over_cells(values).tolist() == [mean]
    with pytest.raises(InputError, match=r"one number of classes, got \[2, 3\]"):
        MapCategoricalDistribution([2, 3])
