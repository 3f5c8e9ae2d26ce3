"""The likelihood of labels of which some shares are known, by hand and where all is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rss_agents.losses.cross_entropy import coarsened_cross_entropy


def test_it_is_cross_entropy_where_all_is_known():
    logits = torch.randn(2, 5, 30)
    labels = torch.randint(0, 5, (2, 30))
    shares = F.one_hot(labels, 5).transpose(1, 2).float()
    found = coarsened_cross_entropy(logits.softmax(1), shares)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels))
    shares[:, 3] = -1.0  # one class may be missing: what the others leave is its share
    torch.testing.assert_close(coarsened_cross_entropy(logits.softmax(1), shares), found)


def test_what_is_left_belongs_to_the_other_classes_together():
    """By hand: half of the cell is class 0, none is class 1; 2 and 3 share the other half."""
    probabilities = torch.tensor([[[0.4], [0.3], [0.2], [0.1]]])
    shares = torch.tensor([[[0.5], [0.0], [-1.0], [-1.0]]])
    expected = -(0.5 * torch.tensor(0.4).log() + 0.5 * torch.tensor(0.3).log())
    torch.testing.assert_close(coarsened_cross_entropy(probabilities, shares), expected)


def test_a_void_cell_counts_nothing():
    logits = torch.randn(1, 3, 2, requires_grad=True)
    shares = torch.tensor([[[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]])
    coarsened_cross_entropy(logits.softmax(1), shares).backward()
    assert logits.grad is not None
    assert (logits.grad[..., 0] == 0).all()
    assert (logits.grad[..., 1] != 0).any()
