"""Baselines and normalisation of scores, by hand and against one another."""

from __future__ import annotations

import pytest
import torch

from loss_problems import SCORES, loss_problem
from rss_agents.losses.advantages import leave_one_out, synchronised_deviation


def test_leave_one_out_by_hand():
    expected = torch.tensor([[0.75, -0.75, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(leave_one_out(SCORES), expected)
    torch.testing.assert_close(leave_one_out(SCORES[..., None])[..., 0], expected)


def test_without_the_share_pairs_have_the_leave_one_out_gradient():
    """With rho = 1, PSD's summed gradient is RLOO's: pairs that agree at a cell cancel there."""
    logits, maps, scores = loss_problem(5, batch=3, classes=4, cells=7, members=6)
    log_probabilities = logits.log_softmax(1).gather(1, maps.long())
    difference = scores[:, :, None] - scores[:, None, :]
    differs = maps[:, :, None] != maps[:, None, :]
    plain = (difference[..., None] * differs).sum(2) / (maps.shape[1] - 1)
    whole = leave_one_out(scores)[..., None].expand_as(plain)
    gradients = [
        torch.autograd.grad((a * log_probabilities).sum(), logits, retain_graph=True)[0]
        for a in (plain, whole)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


def test_synchronised_deviation():
    values = torch.tensor([3.0, 4.0, 0.0, 0.0])
    assert synchronised_deviation(values).item() == pytest.approx(2.5)
    assert synchronised_deviation(values, values != 0).item() == pytest.approx(12.5**0.5)
    assert synchronised_deviation(torch.full((3,), 1e-8)).item() == float("inf")
