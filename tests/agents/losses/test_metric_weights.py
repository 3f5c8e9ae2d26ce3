"""Weights of metrics by least squares: those that made the scores, whatever else differs."""

from __future__ import annotations

import pytest
import torch

from rss_agents.losses.metric_weights import MetricWeights
from rss_agents.losses.score_model_config import MixtureConfig

FIRST = torch.tensor([0.7, 0.2, 0.1])


def observe(weights, truth, steps, *, noise=0.0, seed=0):
    """The weights after some batches of 6 images, 5 maps and 2 scales."""
    generator, found = torch.Generator().manual_seed(seed), None
    for _ in range(steps):
        predicted = torch.rand(6, 5, 2, 3, generator=generator, dtype=torch.float64)
        scores = predicted @ torch.tensor(truth, dtype=torch.float64)
        scores = scores + noise * torch.randn(scores.shape, generator=generator)
        scores = scores + torch.rand(6, 1, 2, generator=generator)  # alike for maps of a group
        found = weights.observe(predicted, scores)
    return found


@pytest.mark.parametrize("truth", [[0.5, 0.0, 0.5], [0.0, 2.0, 0.0], [0.2, 0.3, 0.4]])
def test_weights_are_found_whatever_a_group_has_in_common(truth):
    found = observe(MetricWeights(FIRST, MixtureConfig(first_weight=1e-6)), truth, 3)
    torch.testing.assert_close(found, torch.tensor(truth).double(), atol=1e-5, rtol=0)
    noisy = observe(MetricWeights(FIRST, MixtureConfig(first_weight=1e-6)), truth, 100, noise=0.1)
    torch.testing.assert_close(noisy, torch.tensor(truth).double(), atol=0.03, rtol=0)


def test_no_weight_is_negative():
    found = observe(MetricWeights(FIRST, MixtureConfig(first_weight=1e-6)), [-0.5, 0.5, 0.0], 20)
    assert found[0] == 0
    assert (found >= 0).all()
    assert found[1] > 0.4


def test_first_weights_hold_until_scores_differ():
    """Nothing predicted and nothing seen: the start; and it is forgotten as scores come."""
    weights = MetricWeights(FIRST, MixtureConfig())
    alike = torch.full((4, 5, 2, 3), 0.3, dtype=torch.float64)
    torch.testing.assert_close(weights.observe(alike, alike[..., 0]), FIRST.double())
    early = observe(MetricWeights(FIRST, MixtureConfig(first_weight=1e3)), [0.0, 0.0, 1.0], 1)
    late = observe(MetricWeights(FIRST, MixtureConfig(first_weight=1e3)), [0.0, 0.0, 1.0], 200)
    assert (early - FIRST).abs().max() < 0.1
    assert late[2] > early[2] + 0.1


def test_older_scores_are_forgotten():
    weights = MetricWeights(FIRST, MixtureConfig(memory=0.5))
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
    found = MetricWeights(FIRST, MixtureConfig(first_weight=1e-6)).observe(predicted, scores)
    assert 0.3 < found[0] < 0.7
    assert 0.3 < found[1] < 0.7


def test_they_go_on_from_their_state():
    weights = MetricWeights(FIRST, MixtureConfig())
    observe(weights, [0.2, 0.5, 0.3], 5, noise=0.1)
    other = MetricWeights(FIRST, MixtureConfig())
    other.set_state(weights.get_state())
    one, two = (observe(w, [0.1, 0.1, 0.8], 2, noise=0.1, seed=3) for w in (weights, other))
    assert one.equal(two)
