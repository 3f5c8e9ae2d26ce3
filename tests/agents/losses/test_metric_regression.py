"""Generalised least squares over scores that vary together, and what it is fed with."""

from __future__ import annotations

import itertools

import pytest
import torch

from beliefs import covariance_of, predict, predicted_scores
from rss_agents.kernels.whitened_residuals import whitened_residuals
from rss_agents.losses.metric_regression import group_variances, sample_cells, whitened_regression
from rss_agents.losses.regression import relative_regression
from rss_agents.losses.score_models import cell_uncertainty
from rss_env.feedback import Feedback
from rss_env.rewards import METRICS, score_counts

NOISE = torch.linspace(0.1, 1.2, 24, dtype=torch.float64).view(2, 3, 4)


def groups(seed=0, images=2, number=3, members=4):
    """Residuals as predictions and scores, and a covariance."""
    generator = torch.Generator().manual_seed(seed)
    shape = (images, number, members)
    predicted, scores = (torch.rand(shape, generator=generator).double() for _ in range(2))
    factor = torch.randn(images, number * members, 20, generator=generator).double()
    return predicted.requires_grad_(), scores, factor @ factor.transpose(1, 2) / 20


def centred(covariance, members):
    """The covariance of scores less their group's mean."""
    number = covariance.shape[1] // members
    centre = torch.eye(members, dtype=torch.float64) - 1 / members
    matrix = torch.block_diag(*[centre] * number)
    return matrix @ covariance @ matrix


@pytest.mark.parametrize("offset", [None, 0.3])
def test_whitened_regression_is_the_quadratic_form(offset):
    predicted, scores, covariance = groups()
    common = None if offset is None else torch.full((2,), offset)
    loss = whitened_regression(predicted, scores, covariance, NOISE, offset=common)
    total = torch.zeros((), dtype=torch.float64)
    same = torch.block_diag(*[torch.ones(4, 4, dtype=torch.float64)] * 3) * (offset or 0.0)
    for b in range(2):
        residual = (predicted[b] - scores[b]).flatten()
        inverse = torch.linalg.inv(covariance[b] + NOISE[b].flatten().diag() + same)
        total = total + residual @ inverse @ residual
    torch.testing.assert_close(loss, total / 24)


def test_with_any_offset_only_differences_within_groups_count():
    """The same as regressing scores less their group's mean, where a group's noise is alike."""
    predicted, scores, covariance = groups()
    noise = NOISE[..., :1].expand_as(NOISE)
    free = torch.full((2,), torch.inf)
    loss = whitened_regression(predicted, scores, covariance, noise, offset=free)
    centred_residual = predicted - scores
    centred_residual = centred_residual - centred_residual.mean(2, keepdim=True)
    expected = whitened_regression(
        centred_residual, torch.zeros_like(scores), centred(covariance, 4), noise
    )
    torch.testing.assert_close(loss, expected)
    moved = scores + torch.tensor([[1.0, -2.0, 3.0]])[..., None]
    torch.testing.assert_close(
        whitened_regression(predicted, moved, covariance, NOISE, offset=free),
        whitened_regression(predicted, scores, covariance, NOISE, offset=free),
    )


def test_its_gradient_is_the_whitened_residual():
    """The step that the linear-Gaussian posterior takes, and not twice that."""
    predicted, scores, covariance = groups()
    loss = whitened_regression(predicted, scores, covariance, NOISE)
    gradient = torch.autograd.grad(loss, predicted)[0]
    total = covariance + NOISE.flatten(1).diag_embed()
    step = torch.linalg.solve(total, (predicted - scores).flatten(1)) / 24
    torch.testing.assert_close(gradient.flatten(1), step.detach())


@pytest.mark.parametrize("offset", [None, torch.full((2,), torch.inf), torch.full((2,), 0.3)])
def test_groups_that_are_not_there_do_not_matter(offset):
    predicted, scores, covariance = groups()
    valid = torch.tensor([[True, False, True], [True, False, True]])
    loss = whitened_regression(predicted, scores, covariance, NOISE, offset=offset, valid=valid)
    kept = [0, 1, 2, 3, 8, 9, 10, 11]
    without = whitened_regression(
        predicted[:, [0, 2]],
        scores[:, [0, 2]],
        covariance[:, kept][:, :, kept],
        NOISE[:, [0, 2]],
        offset=offset,
    )
    torch.testing.assert_close(loss, without)
    assert (torch.autograd.grad(loss, predicted)[0][:, 1] == 0).all()


def test_without_covariance_it_is_the_relative_regression():
    predicted, scores, covariance = groups()
    noise = torch.full((2, 3, 4), 0.25, dtype=torch.float64)
    loss = whitened_regression(
        predicted, scores, covariance * 0, noise, offset=torch.full((2,), torch.inf)
    )
    pairs = relative_regression(predicted, scores, torch.full((2, 3), 0.5, dtype=torch.float64))
    torch.testing.assert_close(loss * 2 * 4 / 3, pairs)


def test_group_variances_are_those_of_centred_scores():
    _, _, covariance = groups()
    variances, within = group_variances(covariance, 3, 4)
    torch.testing.assert_close(variances.flatten(1), covariance.diagonal(dim1=1, dim2=2))
    diagonal = centred(covariance, 4).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(within, diagonal.unflatten(1, (3, 4)).mean(2))


@pytest.mark.parametrize("offset", [None, 0.3, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("images", "number", "members"), [(1, 1, 1), (3, 2, 3), (5, 9, 7)])
def test_faces_of_whitened_residuals_agree(images, number, members, dtype, offset):
    predicted, scores, covariance = groups(1, images, number, members)
    present = torch.rand(images, number, 1, generator=torch.Generator().manual_seed(0)) < 0.7
    present[-1] = False
    common = None if offset is None else torch.full((images,), offset, dtype=dtype)
    given = (
        (predicted - scores).flatten(1).to(dtype),
        covariance.to(dtype),
        torch.linspace(0.1, 1.2, images * number * members).view(images, -1).to(dtype),
        present.expand(-1, -1, members).flatten(1),
        members,
        common,
    )
    reference, found = (whitened_residuals(*given, backend=i) for i in ("reference", "numba"))
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-9)
    assert found.any() or members == 1


@pytest.mark.parametrize("metric", METRICS)
def test_covariance_is_that_of_the_metric_on_sampled_labels(metric):
    """To first order: on 600 cells it is within a tenth of what sampled labels give."""
    generator = torch.Generator().manual_seed(3)
    probabilities = torch.randn(1, 3, 600, generator=generator).mul(1.5).softmax(1)
    maps = torch.randint(0, 3, (1, 4, 600), generator=generator).to(torch.uint8)
    found = covariance_of(probabilities, maps, metric)[0]
    draws = torch.multinomial(probabilities[0].T, 4000, replacement=True, generator=generator).T
    true = torch.stack([(draws == c) for c in range(3)], -1)  # (draws, P, C)
    chosen = torch.stack([(maps[0] == c) for c in range(3)], -1)  # (K, P, C)
    right = torch.einsum("dpc,kpc->dkc", true.float(), chosen.float())
    predicted = chosen.sum(1)[None].expand_as(right)
    labelled = true.sum(1)[:, None].expand_as(right)
    scores = score_counts(metric, right, predicted, labelled).double()
    sampled = torch.cov(scores.T).float()
    assert (found - sampled).abs().max() < 0.1 * sampled.diagonal().mean()


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
        predicted = predicted_scores(belief, maps, "pixel_accuracy")[:, None]
        covariance = covariance_of(belief, maps, "pixel_accuracy")
        noise = torch.full((1, 1, 60), 1e-4 if whitens else 1.0)
        loss = whitened_regression(
            predicted, scores, covariance * whitens, noise, offset=torch.tensor([torch.inf])
        )
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
        covariance = covariance_of(probabilities, maps, metric)
        assert torch.linalg.eigvalsh(covariance[b].double()).min() > -1e-7


@pytest.mark.parametrize("certain", [0.0, 0.9])
def test_a_sample_of_the_cells_stands_for_all_of_them(certain):
    """Over many samples the mean is the covariance; one sample of a quarter is near it."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(1, 3, 1024, generator=generator)
    known = torch.rand(1024, generator=generator) < certain
    probabilities = torch.where(known, 20 * logits, logits).softmax(1)
    maps = torch.randint(0, 3, (1, 4, 1024), generator=generator).to(torch.uint8)
    whole = covariance_of(probabilities, maps, "miou")
    prediction = predict(probabilities, maps, "miou")
    importance = cell_uncertainty(probabilities, prediction, (0, 1024))
    samples = torch.stack(
        [
            covariance_of(
                probabilities,
                maps,
                "miou",
                sample_cells(importance, (0, 1024), 256, generator),
            )
            for _ in range(200)
        ]
    )
    scale = float(whole.diagonal(dim1=1, dim2=2).mean())
    assert (samples.mean(0) - whole).abs().max() < 0.01 * scale
    assert (samples - whole).abs().mean() < 0.05 * scale


def test_uncertain_cells_are_drawn_most_and_small_scales_whole():
    importance = torch.cat([torch.ones(2, 9), torch.zeros(2, 90), 4 * torch.ones(2, 10)], 1)
    sample = sample_cells(importance, (0, 9, 109), 40, torch.Generator().manual_seed(0))
    assert sample.offsets == (0, 9, 49)
    assert sample.cells.shape == sample.counts.shape == (2, 49)
    assert sample.cells[:, :9].tolist() == [list(range(9))] * 2
    assert (sample.counts[:, :9] == 1).all()
    drawn, counts = sample.cells[:, 9:], sample.counts[:, 9:]
    assert int(drawn.min()) >= 9
    assert int(drawn.max()) < 109
    important = drawn >= 99
    # A tenth of the draws goes to all cells alike, and a tenth of these to the important ones.
    assert (important.sum(1) - 0.91 * 40).abs().max() <= 1
    torch.testing.assert_close(counts[important], torch.full_like(counts[important], 10 / 36.4))
    torch.testing.assert_close(counts[~important], torch.full_like(counts[~important], 25.0))


def test_cells_of_no_importance_at_all_are_drawn_alike():
    sample = sample_cells(torch.zeros(1, 100), (0, 100), 20, torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample.counts, torch.full((1, 20), 5.0))
    assert sample.cells[0].diff().tolist() == [5] * 19
