"""Weights of metrics by least squares: those that made the scores, whatever else differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from rss_agents.losses.metric_weights import MetricWeights, non_negative_solution
from rss_agents.losses.score_model_config import MixtureConfig

FIRST = torch.tensor([0.7, 0.2, 0.1])


def observe(weights, truth, steps, *, noise=0.0, seed=0):
    """The weights after some batches of 6 images, 5 maps and 2 scales."""
    generator, found = torch.Generator().manual_seed(seed), FIRST
    for _ in range(steps):
        predicted = torch.rand(6, 5, 2, 3, generator=generator, dtype=torch.float64)
        scores = predicted @ torch.tensor(truth, dtype=torch.float64)
        scores = scores + noise * torch.randn(scores.shape, generator=generator)
        scores = scores + torch.rand(6, 1, 2, generator=generator)  # alike for maps of a group
        found = weights.observe(predicted, scores)
    return found


@pytest.mark.parametrize("truth", [[0.5, 0.0, 0.5], [0.0, 2.0, 0.0], [0.2, 0.3, 0.4]])
def test_weights_are_found_whatever_a_group_has_in_common(truth):
    found = observe(MetricWeights(FIRST, 2, MixtureConfig(first_weight=1e-6)), truth, 3)
    torch.testing.assert_close(found, torch.tensor(truth).double(), atol=1e-5, rtol=0)
    noisy = observe(
        MetricWeights(FIRST, 2, MixtureConfig(first_weight=1e-6)), truth, 100, noise=0.1
    )
    torch.testing.assert_close(noisy, torch.tensor(truth).double(), atol=0.03, rtol=0)


def test_no_weight_is_negative():
    found = observe(MetricWeights(FIRST, 2, MixtureConfig(first_weight=1e-6)), [-0.5, 0.5, 0.0], 20)
    assert found[0] == 0
    assert (found >= 0).all()
    assert found[1] > 0.4


def test_first_weights_hold_until_scores_differ():
    """Nothing predicted and nothing seen: the start; and it counts less as scores come."""
    weights = MetricWeights(FIRST, 2, MixtureConfig())
    alike = torch.full((4, 5, 2, 3), 0.3, dtype=torch.float64)
    torch.testing.assert_close(weights.observe(alike, alike[..., 0]), FIRST.double())
    early = observe(MetricWeights(FIRST, 2, MixtureConfig(first_weight=1e3)), [0.0, 0.0, 1.0], 1)
    late = observe(MetricWeights(FIRST, 2, MixtureConfig(first_weight=1e3)), [0.0, 0.0, 1.0], 200)
    assert (early - FIRST).abs().max() < 0.1
    assert late[2] > early[2] + 0.1


def test_older_scores_are_forgotten():
    weights = MetricWeights(FIRST, 2, MixtureConfig(forgetting_factor=0.5))
    observe(weights, [1.0, 0.0, 0.0], 20)
    found = observe(weights, [0.0, 1.0, 0.0], 20, seed=1)
    assert found[1] > 0.9
    assert found[0] < 0.05


def test_scales_count_alike():
    """A scale whose scores differ a thousand times less says as much."""
    generator = torch.Generator().manual_seed(2)
    predicted = torch.rand(8, 6, 2, 3, generator=generator, dtype=torch.float64)
    predicted[:, :, 1] *= 1e-3
    truths = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    scores = torch.stack([predicted[:, :, s] @ truths[s] for s in range(2)], 2)
    found = MetricWeights(FIRST, 2, MixtureConfig(first_weight=1e-6)).observe(predicted, scores)
    assert 0.3 < found[0] < 0.7
    assert 0.3 < found[1] < 0.7


def test_they_go_on_from_their_state():
    weights = MetricWeights(FIRST, 2, MixtureConfig())
    observe(weights, [0.2, 0.5, 0.3], 5, noise=0.1)
    other = MetricWeights(FIRST, 2, MixtureConfig())
    other.set_state(weights.get_state())
    one, two = (observe(w, [0.1, 0.1, 0.8], 2, noise=0.1, seed=3) for w in (weights, other))
    assert one.equal(two)


def test_a_scale_whose_scores_never_differ_does_not_outweigh_the_others():
    """Nor does one that ties in one batch undo what was known."""
    generator = torch.Generator().manual_seed(4)
    weights = MetricWeights(FIRST, 2, MixtureConfig())
    truth = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    found = []
    for step in range(60):
        predicted = torch.rand(8, 6, 2, 3, generator=generator, dtype=torch.float64)
        scores = predicted @ truth
        if step >= 50:
            scores[:, :, 1] = 0.25
        found.append(weights.observe(predicted, scores))
    assert (found[49] - truth).abs().max() < 0.02
    assert (found[50] - truth).abs().max() < 0.03
    assert found[59].sum() > 0.5
    always, last = MetricWeights(FIRST, 2, MixtureConfig()), FIRST
    for _ in range(60):
        predicted = torch.rand(8, 6, 2, 3, generator=generator, dtype=torch.float64)
        scores = predicted @ truth
        scores[:, :, 1] = 0.25
        last = always.observe(predicted, scores)
    assert 0.3 < last.sum() < 1


def test_small_batches_are_not_drawn_to_nothing():
    """Two maps of two images differ much or little by chance: that says nothing of the weights."""
    generator = torch.Generator().manual_seed(5)
    weights = MetricWeights(FIRST, 1, MixtureConfig(first_weight=1e-6, forgetting_factor=0.999))
    found = FIRST
    for _ in range(1500):
        predicted = torch.randn(2, 2, 1, 3, generator=generator, dtype=torch.float64)
        noise = torch.randn(2, 2, 1, generator=generator, dtype=torch.float64)
        found = weights.observe(predicted, predicted[..., 0] * 0.8 + noise)
    assert 0.65 < found[0] < 0.95


def test_the_solution_is_that_of_lawson_and_hanson():
    generator = torch.Generator().manual_seed(6)
    for _ in range(50):
        rows = torch.randn(7, 4, generator=generator, dtype=torch.float64)
        target = torch.randn(7, generator=generator, dtype=torch.float64)
        found = non_negative_solution(rows.mT @ rows, rows.mT @ target)
        np.testing.assert_allclose(found, nnls(rows.numpy(), target.numpy())[0], atol=1e-9)
