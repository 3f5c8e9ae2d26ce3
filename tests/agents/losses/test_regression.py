"""The regression of scores, against loops over pairs."""

from __future__ import annotations

import itertools

import pytest
import torch

from loss_problems import loss_problem, policy_gradient_loss
from rss_agents.losses.advantages import synchronised_deviation
from rss_agents.losses.regression import relative_regression
from rss_agents.losses.score_models import linear_prediction


@pytest.mark.parametrize("seed", range(3))
def test_relative_regression_equals_its_pairwise_form(seed):
    logits, maps, scores = loss_problem(seed)
    batch, members, _ = maps.shape
    cells = logits.gather(1, maps.long())
    deviation = torch.tensor([[0.5], [2.0]], dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for b in range(batch):
        for k, j in itertools.permutations(range(members), 2):
            gain = (cells[b, k] - cells[b, j]).mean() - (scores[b, k] - scores[b, j])
            total = total + gain.square() / deviation[b, 0].square()
    pairwise = total / (batch * members * (members - 1))
    predicted = linear_prediction(logits, maps, (0, maps.shape[2]))[:, None, :, 0]
    loss = relative_regression(predicted, scores[:, None], deviation)
    torch.testing.assert_close(loss, pairwise)


def test_relative_regression_cancels_where_maps_agree():
    logits, maps, scores = loss_problem(1)
    maps[:, :, 2] = 1
    predicted = linear_prediction(logits, maps, (0, maps.shape[2]))[..., 0]
    loss = relative_regression(predicted[:, None], scores[:, None], torch.ones(2, 1))
    gradient = torch.autograd.grad(loss, logits)[0]
    assert gradient[:, :, 2].abs().max() < 1e-12
    assert gradient[:, :, 0].abs().max() > 1e-6


def test_relative_regression_of_cells_is_the_mean_over_cells():
    predicted, rewards = torch.rand(2, 2, 3, 4, 5, dtype=torch.float64).unbind()
    deviation = torch.ones(2, 3, dtype=torch.float64)
    per_cell = [
        relative_regression(predicted[..., p], rewards[..., p], deviation) for p in range(5)
    ]
    loss = relative_regression(predicted, rewards, deviation)
    torch.testing.assert_close(loss, torch.stack(per_cell).mean())


def test_groups_that_are_not_there_count_for_nothing():
    predicted, scores = torch.rand(2, 2, 3, 4).unbind()
    valid = torch.tensor([[True, False, False], [True, True, False]])
    deviation = torch.rand(2, 3) + 0.5
    loss = relative_regression(predicted, scores, deviation, valid=valid)
    alone = [
        relative_regression(predicted[b, v][None, None], scores[b, v][None, None], deviation[b, v])
        for b, v in ((0, 0), (1, 0), (1, 1))
    ]
    torch.testing.assert_close(loss, torch.stack(alone).mean())


def test_maps_that_all_score_alike_teach_nothing():
    logits, maps, _ = loss_problem(7)
    scores = torch.full((2, 4), 0.4, dtype=torch.float64)
    deviation = synchronised_deviation(scores - scores.mean(1, keepdim=True))
    predicted = linear_prediction(logits, maps, (0, maps.shape[2]))[..., 0]
    losses = [
        relative_regression(predicted[:, None], scores[:, None], deviation),
        policy_gradient_loss(logits.softmax(1), maps[:, None], scores[:, None], entropy=0.5),
    ]
    for loss in losses:
        assert loss == 0
        assert (torch.autograd.grad(loss, logits, retain_graph=True)[0] == 0).all()


def test_absolute_regression_is_the_ablation():
    predicted, scores = torch.rand(2, 2, 1, 4).unbind()
    loss = relative_regression(predicted, scores, torch.full((2, 1), 2.0), psd=False)
    torch.testing.assert_close(loss, (predicted - scores).square().mean() / 4)
