"""Expected counts: backends compared, and counts of certain labels."""

from __future__ import annotations

import pytest
import torch

from belief_problems import SHAPES, belief_problem, scales_of
from rss_agents.kernels.expected_counts import expected_and_label_counts, expected_counts


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_expected_counts_agree_forward_and_backward(name, dtype):
    probabilities, maps = belief_problem(*SHAPES[name])
    offsets = scales_of(maps.shape[2])
    upstream = torch.randn(*maps.shape[:2], len(offsets) - 1, probabilities.shape[1])
    results = []
    for backend in ("reference", "numba"):
        leaf = probabilities.to(dtype).requires_grad_()
        right, labelled = expected_and_label_counts(leaf, maps, offsets, backend=backend)
        ((right * upstream).sum() + (labelled * upstream[:, 0].square()).sum()).backward()
        results.append((right.detach(), labelled.detach(), leaf.grad))
    for reference, found in zip(*results, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-5)


def test_expected_counts_alone_and_with_those_of_labels():
    probabilities, maps = belief_problem(2, 3, 30, 4)
    right, labelled = expected_and_label_counts(probabilities, maps, (0, 10, 30))
    assert right.equal(expected_counts(probabilities, maps, (0, 10, 30)))
    torch.testing.assert_close(labelled.sum(2), torch.tensor([[10.0, 20.0]] * 2))
    leaf = probabilities.requires_grad_()
    expected_counts(leaf, maps, (0, 10, 30)).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad.sum(1), torch.full((2, 30), 3.0))


def test_expected_counts_of_maps_that_are_not_contiguous():
    probabilities, maps = belief_problem(3, 6, 700, 5)
    turned = maps.transpose(1, 2).contiguous().transpose(1, 2)
    rates = probabilities.transpose(1, 2).contiguous().transpose(1, 2)
    expected = expected_counts(probabilities, maps, (0, 100, 700), backend="reference")
    torch.testing.assert_close(expected_counts(rates, turned, (0, 100, 700)), expected)


def test_expected_counts_of_certain_labels_are_counts():
    labels, maps = torch.tensor([[0, 1, 1, 2]]), torch.tensor([[[0, 1, 2, 2]]], dtype=torch.uint8)
    certain = torch.nn.functional.one_hot(labels, 3).transpose(1, 2).float()
    assert expected_counts(certain, maps, (0, 4)).tolist() == [[[[1, 1, 1]]]]
    assert expected_counts(certain, maps, (0, 1, 4)).tolist() == [[[[1, 0, 0], [0, 1, 1]]]]
