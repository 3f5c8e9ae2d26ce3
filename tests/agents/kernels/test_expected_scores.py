"""Scores of expected counts and their slopes."""

from __future__ import annotations

import pytest
import torch

from rss_agents.kernels.expected_scores import class_ratio_slopes, class_ratios, expected_scores
from rss_env.rewards import METRICS

EACH_METRIC = pytest.mark.parametrize("metric", METRICS)


def problem(classes=4, dtype=torch.float64):
    """Counts (2, 5, 3, C): some classes in no map, one in no label, one neither."""
    generator = torch.Generator().manual_seed(classes)
    predicted = torch.randint(0, 9, (2, 5, 3, classes), generator=generator).to(dtype)
    predicted[:, 0, :, 1:] = 0
    predicted[:, 0, :, 0] = 20
    labelled = 9 * torch.rand(2, 3, classes, generator=generator).to(dtype)
    labelled[1, :, -1] = 0
    predicted[1, :, :, -1] = 0
    share = torch.rand(predicted.shape, generator=generator).to(dtype)
    right = share * torch.minimum(predicted, labelled[:, None])
    return right, predicted, labelled


@EACH_METRIC
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 4, 60])
def test_faces_agree_on_scores_slopes_and_gradients(classes, dtype, metric):
    right, predicted, labelled = problem(classes, dtype)
    results = []
    for backend in ("reference", "numba"):
        leaves = right.clone().requires_grad_(), labelled.clone().requires_grad_()
        scores, *slopes = expected_scores(
            leaves[0], predicted, leaves[1], metric, 0.005, backend=backend
        )
        upstream = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))
        (scores * upstream).sum().backward()
        assert not any(slope.requires_grad for slope in slopes)
        results.append((scores.detach(), *slopes, *(leaf.grad for leaf in leaves)))
    for reference, found in zip(*results, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)


@EACH_METRIC
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_gradients_are_those_of_finite_differences(metric, backend):
    right, predicted, labelled = problem()
    right = right * 0.9 + 0.01 * (labelled[:, None] > 0)
    labelled = labelled + 0.1  # away from the corner at nothing
    leaves = right.requires_grad_(), labelled.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r, n: expected_scores(r, predicted, n, metric, 0.005, backend=backend)[0],
        leaves,
    )


@pytest.mark.parametrize("metric", [name for name in METRICS if name != "pixel_accuracy"])
def test_slopes_of_ratios_are_derivatives(metric):
    """Also where a class is nowhere, and nothing is divided by."""
    right, predicted, labelled = problem()
    labelled = labelled[:, None].expand_as(right)
    leaves = right.requires_grad_(), predicted.requires_grad_()
    total = class_ratios(*leaves, labelled, metric).sum()
    expected = torch.autograd.grad(total, leaves, materialize_grads=True)
    found = class_ratio_slopes(right.detach(), predicted.detach(), labelled, metric)
    for own, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(own, reference)
