"""Generalised least squares over scores that vary together, and what it is fed with."""

from __future__ import annotations

import itertools

import pytest
import torch

from agents.objectives import centred_in_groups, relative_regression, whitened_regression
from agents.score_models import metric_covariance, metric_prediction, scores_from_order
from rss_env.feedback import Feedback
from rss_env.rewards import METRICS, score_counts

NOISE = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.4]], dtype=torch.float64)


def groups(seed=0, images=2, number=3, members=4):
    """Residuals as predictions and scores, and a covariance."""
    generator = torch.Generator().manual_seed(seed)
    shape = (images, number, members)
    predicted, scores = (torch.rand(shape, generator=generator).double() for _ in range(2))
    factor = torch.randn(images, number * members, 20, generator=generator).double()
    return predicted.requires_grad_(), scores, factor @ factor.transpose(1, 2) / 20


def test_whitened_regression_is_the_quadratic_form():
    predicted, scores, covariance = groups()
    noise = NOISE
    covariance = centred_in_groups(covariance, 4)
    loss = whitened_regression(predicted, scores, covariance, noise)
    total = torch.zeros((), dtype=torch.float64)
    for b in range(2):
        residual = predicted[b] - scores[b]
        residual = (residual - residual.mean(1, keepdim=True)).flatten()
        inverse = torch.linalg.inv(covariance[b] + noise[b].repeat_interleave(4).diag())
        total = total + residual @ inverse @ residual
    torch.testing.assert_close(loss, total / 24)


def test_its_gradient_is_the_whitened_residual():
    """The step that the linear-Gaussian posterior takes, and not twice that."""
    predicted, scores, covariance = groups()
    noise = NOISE
    loss = whitened_regression(predicted, scores, covariance, noise, psd=False)
    gradient = torch.autograd.grad(loss, predicted)[0]
    total = covariance + noise.repeat_interleave(4, 1).diag_embed()
    step = torch.linalg.solve(total, (predicted - scores).flatten(1)) / 24
    torch.testing.assert_close(gradient.flatten(1), step.detach())


def test_groups_that_are_not_there_do_not_matter():
    predicted, scores, covariance = groups()
    noise = NOISE
    valid = torch.tensor([[True, False, True], [True, False, True]])
    covariance = centred_in_groups(covariance, 4)
    loss = whitened_regression(predicted, scores, covariance, noise, valid=valid)
    kept = [0, 1, 2, 3, 8, 9, 10, 11]
    without = whitened_regression(
        predicted[:, [0, 2]], scores[:, [0, 2]], covariance[:, kept][:, :, kept], noise[:, [0, 2]]
    )
    torch.testing.assert_close(loss, without)
    assert (torch.autograd.grad(loss, predicted)[0][:, 1] == 0).all()


def test_without_covariance_it_is_the_relative_regression():
    predicted, scores, covariance = groups()
    noise = torch.full((2, 3), 0.25, dtype=torch.float64)
    loss = whitened_regression(predicted, scores, covariance * 0, noise)
    pairs = relative_regression(predicted, scores, torch.full((2, 3), 0.5, dtype=torch.float64))
    torch.testing.assert_close(loss * 2 * 4 / 3, pairs)


def test_centred_covariance_is_that_of_centred_scores():
    _, _, covariance = groups()
    centre = torch.eye(4, dtype=torch.float64) - 0.25
    matrix = torch.block_diag(centre, centre, centre)
    torch.testing.assert_close(centred_in_groups(covariance, 4), matrix @ covariance @ matrix)


@pytest.mark.parametrize("metric", METRICS)
def test_covariance_is_that_of_the_metric_on_sampled_labels(metric):
    """To first order: on 600 cells it is within a tenth of what sampled labels give."""
    generator = torch.Generator().manual_seed(3)
    probabilities = torch.randn(1, 3, 600, generator=generator).mul(1.5).softmax(1)
    maps = torch.randint(0, 3, (1, 4, 600), generator=generator).to(torch.uint8)
    found = metric_covariance(probabilities, maps, metric)[0]
    draws = torch.multinomial(probabilities[0].T, 4000, replacement=True, generator=generator).T
    true = torch.stack([(draws == c) for c in range(3)], -1)  # (draws, P, C)
    chosen = torch.stack([(maps[0] == c) for c in range(3)], -1)  # (K, P, C)
    right = torch.einsum("dpc,kpc->dkc", true.float(), chosen.float())
    predicted = chosen.sum(1)[None].expand_as(right)
    labelled = true.sum(1)[:, None].expand_as(right)
    scores = score_counts(metric, right, predicted, labelled).double()
    sampled = torch.cov(scores.T).float()
    assert (found - sampled).abs().max() < 0.1 * sampled.diagonal().mean()


def test_scores_from_order_keep_the_order_and_the_spread():
    predicted = torch.randn(2, 3, 8, dtype=torch.float64) * 0.1
    ranks = torch.stack([torch.randperm(8) for _ in range(6)]).view(2, 3, 8) / 7
    variances = torch.full((2, 3), 0.03, dtype=torch.float64)
    scores, left_open = scores_from_order(ranks.double(), predicted, variances)
    torch.testing.assert_close(scores.argsort(2), ranks.argsort(2))
    torch.testing.assert_close(scores.mean(2), torch.zeros(2, 3, dtype=torch.float64))
    told = scores.square().mean(2) + left_open
    torch.testing.assert_close(told, predicted.var(2) + variances)
    # Against the best of 8 drawn from a normal distribution, known to be 1.4236 on average.
    spread = (predicted.var(2) + variances).sqrt()
    torch.testing.assert_close(
        scores.amax(2) / spread, torch.full((2, 3), 1.4236, dtype=torch.float64), atol=0.015, rtol=0
    )


@pytest.mark.parametrize("text", ["exact", "ranking", "rating:5", "rating:2", "noisy:0.07"])
def test_feedback_knows_its_own_variance(text):
    feedback = Feedback.parse(text, group_size=4)
    exact = torch.rand(500, 4, 10, generator=torch.Generator().manual_seed(0))
    if feedback.kind == "ranking":
        assert feedback.variance == 0
        return
    error = feedback.apply(exact, range(500), range(500)) - exact
    assert float(error.square().mean()) == pytest.approx(feedback.variance, rel=0.05)


def test_whitening_solves_a_linear_problem_that_plain_steps_do_not():
    """More scores than cells: one step of belief finds the label; least squares is far off."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (16,), generator=generator)
    maps = torch.randint(0, 2, (1, 60, 16), generator=generator).to(torch.uint8)
    scores = (maps == label).float().mean(2)[:, None]
    errors = []
    for whitens in (True, False):
        logits = torch.zeros(1, 2, 16, requires_grad=True)
        belief = logits.softmax(1)
        predicted = metric_prediction(belief, maps, "pixel_accuracy")[:, None]
        covariance = metric_covariance(belief, maps, "pixel_accuracy")
        covariance = centred_in_groups(covariance, 60) * whitens
        noise = torch.full((1, 1), 1e-4 if whitens else 1.0)
        loss = whitened_regression(predicted, scores, covariance, noise)
        step = torch.autograd.grad(loss, logits)[0][0]
        step = step / step.abs().max()
        truth = torch.nn.functional.one_hot(label, 2).T - 0.5
        errors.append(float((-step / 2 - truth).abs().mean()))
    assert errors[0] < 0.02
    assert errors[1] > 10 * errors[0]


def test_every_pair_of_variances_is_positive():
    probabilities = torch.rand(3, 4, 50).softmax(1)
    maps = torch.randint(0, 4, (3, 5, 50), dtype=torch.uint8)
    for metric, b in itertools.product(METRICS, range(3)):
        covariance = metric_covariance(probabilities, maps, metric)
        assert torch.linalg.eigvalsh(covariance[b].double()).min() > -1e-7


def test_an_order_with_ties_says_less():
    predicted = torch.randn(1, 3, 4, dtype=torch.float64) * 0.1
    stars = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.2, 0.4, 0.4, 0.2], [0.0, 0.2, 0.4, 0.6]]])
    scores, left_open = scores_from_order(stars, predicted, torch.full((1, 3), 0.01).double())
    assert (scores[0, 0] == 0).all()
    torch.testing.assert_close(left_open[0, 0], predicted[0, 0].var() + 0.01)
    assert scores[0, 1, 0] == scores[0, 1, 3] == pytest.approx(-float(scores[0, 1, 1]))
    share = left_open / (predicted.var(2) + 0.01)
    assert share[0, 0] > share[0, 1] > share[0, 2] > 0
