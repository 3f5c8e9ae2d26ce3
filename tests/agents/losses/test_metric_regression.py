"""Generalised least squares over scores that vary together, and what it is fed with."""

from __future__ import annotations

import pytest
import torch

from beliefs import covariance_of, predicted_scores
from loss_problems import scored_groups
from rss_agents.losses.metric_regression import group_variances, whitened_regression
from rss_agents.losses.regression import relative_regression
from rss_env.feedback import Feedback

NOISE = torch.linspace(0.1, 1.2, 24, dtype=torch.float64).view(2, 3, 4)


def centred(covariance, members):
    """The covariance of scores less their group's mean."""
    number = covariance.shape[1] // members
    centre = torch.eye(members, dtype=torch.float64) - 1 / members
    matrix = torch.block_diag(*[centre] * number)
    return matrix @ covariance @ matrix


@pytest.mark.parametrize("offset", [None, 0.3])
def test_whitened_regression_is_the_quadratic_form(offset):
    predicted, scores, covariance = scored_groups()
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
    predicted, scores, covariance = scored_groups()
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
    predicted, scores, covariance = scored_groups()
    loss = whitened_regression(predicted, scores, covariance, NOISE)
    gradient = torch.autograd.grad(loss, predicted)[0]
    total = covariance + NOISE.flatten(1).diag_embed()
    step = torch.linalg.solve(total, (predicted - scores).flatten(1)) / 24
    torch.testing.assert_close(gradient.flatten(1), step.detach())


@pytest.mark.parametrize("offset", [None, torch.full((2,), torch.inf), torch.full((2,), 0.3)])
def test_groups_that_are_not_there_do_not_matter(offset):
    predicted, scores, covariance = scored_groups()
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


@pytest.mark.parametrize("offset", [None, torch.full((2,), torch.inf), torch.full((2,), 0.3)])
def test_scores_that_are_not_there_do_not_matter(offset):
    """The last score of each group is not, which makes it groups of three."""
    predicted, scores, covariance = scored_groups()
    valid = torch.ones_like(scores, dtype=torch.bool)
    valid[..., 3] = False
    loss = whitened_regression(predicted, scores, covariance, NOISE, offset=offset, valid=valid)
    kept = [k for k in range(12) if k % 4 < 3]
    without = whitened_regression(
        predicted[..., :3],
        scores[..., :3],
        covariance[:, kept][:, :, kept],
        NOISE[..., :3],
        offset=offset,
    )
    torch.testing.assert_close(loss, without)
    assert (torch.autograd.grad(loss, predicted)[0][..., 3] == 0).all()


def test_without_covariance_it_is_the_relative_regression():
    predicted, scores, covariance = scored_groups()
    noise = torch.full((2, 3, 4), 0.25, dtype=torch.float64)
    loss = whitened_regression(
        predicted, scores, covariance * 0, noise, offset=torch.full((2,), torch.inf)
    )
    pairs = relative_regression(predicted, scores, torch.full((2, 3), 0.5, dtype=torch.float64))
    torch.testing.assert_close(loss * 2 * 4 / 3, pairs)


def test_group_variances_are_those_of_centred_scores():
    _, _, covariance = scored_groups()
    variances, within = group_variances(covariance, 3, 4)
    torch.testing.assert_close(variances.flatten(1), covariance.diagonal(dim1=1, dim2=2))
    diagonal = centred(covariance, 4).diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(within, diagonal.unflatten(1, (3, 4)).mean(2))


@pytest.mark.parametrize("text", ["exact", "ranking", "rating:5", "rating:2", "noisy:0.07"])
def test_feedback_knows_its_own_variance(text):
    feedback = Feedback.parse(text, group_size=4)
    exact = torch.rand(500, 4, 10, generator=torch.Generator().manual_seed(0))
    if feedback.kind == "ranking":
        assert feedback.variance == 0
        return
    states = torch.from_numpy(feedback.noise_states(range(500), range(500), (4, 10)))
    error = feedback.apply(exact, lambda _: states, lambda: states) - exact
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
