"""The agent's mathematics against hand-computed cases, loops and enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch

from beliefs import predicted_scores
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference
from rss_agents.kernels.sample_classes import mix_with_uniform
from rss_agents.losses.advantages import leave_one_out, synchronised_deviation
from rss_agents.losses.policy_gradient import policy_gradient
from rss_agents.losses.regression import relative_regression
from rss_agents.losses.score_models import linear_prediction
from rss_env.rewards import METRICS, score_counts

SCORES = torch.tensor([[1.0, 0.0, 0.5], [0.2, 0.2, 0.2]], dtype=torch.float64)
MAPS = torch.tensor(
    [[[0, 1, 2, 2], [0, 0, 2, 2], [1, 1, 2, 0]], [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]]],
    dtype=torch.uint8,
)


def problem(seed: int, batch=2, classes=3, cells=5, members=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, cells, generator=generator, dtype=torch.float64)
    shape = (batch, members, cells)
    maps = torch.randint(0, classes, shape, generator=generator).to(torch.uint8)
    scores = torch.rand(batch, members, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), maps, scores


def test_leave_one_out_by_hand():
    expected = torch.tensor([[0.75, -0.75, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(leave_one_out(SCORES), expected)
    torch.testing.assert_close(leave_one_out(SCORES[..., None])[..., 0], expected)


def test_pairwise_spatial_difference_by_hand():
    # Maps 0 and 1 differ in cell 1 (rho 1/4), 0 and 2 in cells 0 and 3, 1 and 2 in 0, 1 and 3.
    expected = torch.tensor(
        [
            [0.5 / 0.5, 1.0 / 0.25, 0.0, 0.5 / 0.5],
            [-0.5 / 0.75, -1.0 / 0.25 - 0.5 / 0.75, 0.0, -0.5 / 0.75],
            [-0.5 / 0.5 + 0.5 / 0.75, 0.5 / 0.75, 0.0, -0.5 / 0.5 + 0.5 / 0.75],
        ],
        dtype=torch.float64,
    )
    advantages = pairwise_spatial_difference(SCORES, MAPS)
    torch.testing.assert_close(advantages[0], expected / 2)
    assert (advantages[1] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_pairwise_spatial_difference_equals_its_definition(seed):
    _, maps, scores = problem(seed)
    advantages = pairwise_spatial_difference(scores, maps)
    batch, members, cells = maps.shape
    for b, k, p in itertools.product(range(batch), range(members), range(cells)):
        total = 0.0
        for j in range(members):
            if j != k and maps[b, k, p] != maps[b, j, p]:
                share = (maps[b, k] != maps[b, j]).double().mean()
                total += float((scores[b, k] - scores[b, j]) / share)
        assert advantages[b, k, p].item() == pytest.approx(total / (members - 1), abs=1e-12)


def test_equal_maps_have_no_advantage():
    maps = torch.ones(2, 4, 6, dtype=torch.uint8)
    assert (pairwise_spatial_difference(torch.rand(2, 4), maps) == 0).all()


def test_without_the_share_pairs_have_the_leave_one_out_gradient():
    """With rho = 1, PSD's summed gradient is RLOO's: pairs that agree at a cell cancel there."""
    logits, maps, scores = problem(5, batch=3, classes=4, cells=7, members=6)
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


@pytest.mark.parametrize("seed", range(3))
def test_relative_regression_equals_its_pairwise_form(seed):
    logits, maps, scores = problem(seed)
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
    logits, maps, scores = problem(1)
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
    logits, maps, _ = problem(7)
    scores = torch.full((2, 4), 0.4, dtype=torch.float64)
    deviation = synchronised_deviation(scores - scores.mean(1, keepdim=True))
    predicted = linear_prediction(logits, maps, (0, maps.shape[2]))[..., 0]
    losses = [
        relative_regression(predicted[:, None], scores[:, None], deviation),
        policy_gradient(logits.softmax(1), maps[:, None], scores[:, None], entropy=0.5),
    ]
    for loss in losses:
        assert loss == 0
        assert (torch.autograd.grad(loss, logits, retain_graph=True)[0] == 0).all()


def test_absolute_regression_is_the_ablation():
    predicted, scores = torch.rand(2, 2, 1, 4).unbind()
    loss = relative_regression(predicted, scores, torch.full((2, 1), 2.0), psd=False)
    torch.testing.assert_close(loss, (predicted - scores).square().mean() / 4)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_prediction_is_the_metric_when_labels_are_certain(metric):
    """With every class in label and map, certain probabilities give the environment's score."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (2, 400), generator=generator)
    maps = torch.randint(0, 3, (2, 4, 400), generator=generator).to(torch.uint8)
    certain = torch.nn.functional.one_hot(labels, 3).transpose(1, 2).double()
    predicted = predicted_scores(certain, maps, metric)
    for b, k in itertools.product(range(2), range(4)):
        chosen = [maps[b, k] == c for c in range(3)]
        true = [labels[b] == c for c in range(3)]
        right = torch.stack([(p & t).sum() for p, t in zip(chosen, true, strict=True)])
        counts = [torch.stack([mask.sum() for mask in masks]) for masks in (chosen, true)]
        expected = score_counts(metric, right, *counts).double()
        # The chance that a class occurs is 0.985 for a third of the image, not quite 1.
        torch.testing.assert_close(predicted[b, k], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_prediction_has_a_finite_gradient(metric):
    logits = torch.randn(2, 4, 30, dtype=torch.float64, requires_grad=True)
    maps = torch.randint(0, 2, (2, 3, 30), dtype=torch.uint8)  # two classes are in no map
    assert torch.autograd.gradcheck(
        lambda x: predicted_scores(x.softmax(1), maps, metric), (logits,)
    )
    logits = (logits * 1e3).detach().requires_grad_()
    predicted_scores(logits.softmax(1), maps, metric).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("psd", [False, True])
def test_policy_gradient_is_unbiased_on_an_enumerable_problem(psd):
    """Two cells, two classes: the mean over every pair of maps is the exact gradient.

    With PSD the pairs' share of differing cells reweighs them, so there the check is against the
    same sum written out over the pairs.
    """
    logits = torch.tensor([[[0.3, -0.5], [0.1, 0.4]]], dtype=torch.float64, requires_grad=True)
    score_of = {(0, 0): 0.1, (0, 1): 0.9, (1, 0): 0.4, (1, 1): 0.2}
    probabilities = mix_with_uniform(logits.softmax(1), 0.2)

    def likelihood(a):
        return probabilities[0, a[0], 0] * probabilities[0, a[1], 1]

    expected_score = torch.stack([likelihood(a) * r for a, r in score_of.items()]).sum()
    exact = torch.autograd.grad(expected_score, logits, retain_graph=True)[0]
    total = torch.zeros_like(logits)
    by_pairs = torch.zeros_like(logits)
    for a, b in itertools.product(score_of, repeat=2):
        weight = (likelihood(a) * likelihood(b)).detach()
        loss = policy_gradient(
            probabilities,
            torch.tensor([[[a, b]]], dtype=torch.uint8),
            torch.tensor([[[score_of[a], score_of[b]]]], dtype=torch.float64),
            entropy=0.0,
            psd=psd,
            syncan=False,
        )
        total -= weight * torch.autograd.grad(loss, logits, retain_graph=True)[0]
        share = sum(x != y for x, y in zip(a, b, strict=True)) / 2
        for p in range(2):
            if a[p] != b[p]:
                gain = (score_of[a] - score_of[b]) / share
                term = probabilities[0, a[p], p].log() - probabilities[0, b[p], p].log()
                gradient = torch.autograd.grad(gain * term, logits, retain_graph=True)[0]
                by_pairs += weight * gradient / 2
    torch.testing.assert_close(total, by_pairs if psd else exact, rtol=1e-10, atol=1e-12)


def test_policy_gradient_entropy_is_in_the_units_of_advantages():
    """With SyncAN, scaling scores and entropy together leaves the gradient as it is."""
    logits, maps, scores = problem(4)
    maps, scores = maps[:, None], scores[:, None]
    gradients = []
    for factor in (1.0, 7.0):
        loss = policy_gradient(logits.softmax(1), maps, factor * scores, entropy=0.3 * factor)
        gradients.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_pixel_level_policy_gradient_uses_each_cells_own_baseline():
    logits, maps, _ = problem(6)
    rewards = torch.rand(maps.shape, dtype=torch.float64)
    loss = policy_gradient(
        logits.softmax(1), maps[:, None], rewards[:, None], entropy=0.0, syncan=False
    )
    chosen = logits.log_softmax(1).gather(1, maps.long())
    torch.testing.assert_close(loss, -(leave_one_out(rewards) * chosen).mean())


def test_policy_gradient_of_maps_that_another_policy_drew():
    """One cell: the mean over all pairs of maps of the other policy is the exact gradient."""
    logits = torch.tensor([[[0.3], [-0.2], [0.1]]], dtype=torch.float64, requires_grad=True)
    drawn_with = torch.tensor([0.25, 0.35, 0.4], dtype=torch.float64)
    score_of = torch.tensor([0.1, 0.9, 0.4], dtype=torch.float64)
    probabilities = logits.softmax(1)
    assert (probabilities[0, :, 0] / drawn_with).max() < 2  # no weight is truncated
    exact = torch.autograd.grad(
        (probabilities[0, :, 0] * score_of).sum(), logits, retain_graph=True
    )[0]
    total = torch.zeros_like(logits)
    for pair in itertools.product(range(3), repeat=2):
        chosen = torch.tensor(pair)
        loss = policy_gradient(
            probabilities,
            chosen.to(torch.uint8).view(1, 1, 2, 1),
            score_of[chosen].view(1, 1, 2),
            entropy=0.0,
            syncan=False,
            likelihoods=drawn_with[chosen].view(1, 1, 2, 1),
        )
        weight = drawn_with[chosen].prod()
        total -= weight * torch.autograd.grad(loss, logits, retain_graph=True)[0]
    torch.testing.assert_close(total, exact, rtol=1e-10, atol=1e-12)


def test_older_maps_count_twice_at_most():
    probabilities = torch.tensor([[[0.9], [0.1]]], dtype=torch.float64, requires_grad=True)
    maps = torch.tensor([0, 1], dtype=torch.uint8).view(1, 1, 2, 1)
    scores = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    gradients = []
    for likelihood in (0.45, 0.01):  # now it is 0.9: twice as likely, and 90 times
        drawn_with = torch.tensor([likelihood, 0.1], dtype=torch.float64).view(1, 1, 2, 1)
        loss = policy_gradient(
            probabilities,
            maps,
            scores,
            0.0,
            syncan=False,
            likelihoods=drawn_with,
            most_importance=2.0,
        )
        gradients.append(torch.autograd.grad(loss, probabilities)[0])
    # Advantages 1 and -1, the mean over two maps: -(2 * 1 / 0.9) / 2 and -(1 * -1 / 0.1) / 2.
    expected = torch.tensor([[[-1 / 0.9], [5.0]]], dtype=torch.float64)
    for gradient in gradients:
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("syncan", [False, True])
def test_groups_that_are_not_there_leave_the_policy_gradient_as_it_is(syncan):
    logits, maps, scores = problem(8)
    probabilities = logits.softmax(1)
    expected = policy_gradient(
        probabilities, maps[:, None], scores[:, None], entropy=0.2, syncan=syncan
    )
    padded = policy_gradient(
        probabilities,
        torch.stack([maps, torch.zeros_like(maps), torch.zeros_like(maps)], 1),
        torch.stack([scores, torch.zeros_like(scores), torch.zeros_like(scores)], 1),
        entropy=0.2,
        syncan=syncan,
        valid=torch.tensor([[True, False, False]] * 2),
    )
    torch.testing.assert_close(padded, expected)
