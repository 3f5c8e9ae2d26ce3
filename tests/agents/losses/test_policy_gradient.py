"""Policy gradients of groups of maps, against enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch

from loss_problems import loss_problem, policy_gradient_loss
from rss_agents.kernels.sample_classes import mix_with_uniform
from rss_agents.losses.advantages import leave_one_out


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
        loss = policy_gradient_loss(
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
    logits, maps, scores = loss_problem(4)
    maps, scores = maps[:, None], scores[:, None]
    gradients = []
    for factor in (1.0, 7.0):
        loss = policy_gradient_loss(logits.softmax(1), maps, factor * scores, entropy=0.3 * factor)
        gradients.append(torch.autograd.grad(loss, logits)[0])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_pixel_level_policy_gradient_uses_each_cells_own_baseline():
    logits, maps, _ = loss_problem(6)
    rewards = torch.rand(maps.shape, dtype=torch.float64)
    loss = policy_gradient_loss(
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
        loss = policy_gradient_loss(
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
        loss = policy_gradient_loss(
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
    logits, maps, scores = loss_problem(8)
    probabilities = logits.softmax(1)
    expected = policy_gradient_loss(
        probabilities, maps[:, None], scores[:, None], entropy=0.2, syncan=syncan
    )
    padded = policy_gradient_loss(
        probabilities,
        torch.stack([maps, torch.zeros_like(maps), torch.zeros_like(maps)], 1),
        torch.stack([scores, torch.zeros_like(scores), torch.zeros_like(scores)], 1),
        entropy=0.2,
        syncan=syncan,
        valid=torch.tensor([[True, False, False]] * 2),
    )
    torch.testing.assert_close(padded, expected)
