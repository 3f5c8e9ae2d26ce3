"""Logits, maps and scores of groups, for the tests of losses."""

from __future__ import annotations

import torch

SCORES = torch.tensor([[1.0, 0.0, 0.5], [0.2, 0.2, 0.2]], dtype=torch.float64)


def loss_problem(seed: int, batch=2, classes=3, cells=5, members=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, cells, generator=generator, dtype=torch.float64)
    shape = (batch, members, cells)
    maps = torch.randint(0, classes, shape, generator=generator).to(torch.uint8)
    scores = torch.rand(batch, members, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), maps, scores


def scored_groups(seed=0, images=2, number=3, members=4):
    """Residuals as predictions and scores, and a covariance."""
    generator = torch.Generator().manual_seed(seed)
    shape = (images, number, members)
    predicted, scores = (torch.rand(shape, generator=generator).double() for _ in range(2))
    factor = torch.randn(images, number * members, 20, generator=generator).double()
    return predicted.requires_grad_(), scores, factor @ factor.transpose(1, 2) / 20
