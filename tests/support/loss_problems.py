"""Logits, maps and scores of groups, for the tests of losses."""

from __future__ import annotations

from typing import Any

import torch

from rss_agents.losses.advantage_unit import AdvantageUnit
from rss_agents.losses.policy_gradient import cell_advantages, policy_gradient

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


def policy_gradient_loss(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    scores: torch.Tensor,
    entropy: float,
    *,
    psd: bool = True,
    syncan: bool = True,
    **options: Any,
) -> torch.Tensor:
    """The policy gradient of scores at one scale; with SyncAN in units of this batch."""
    advantages = cell_advantages(maps, scores, psd=psd)
    loss = policy_gradient(probabilities, maps, advantages, entropy, **options)
    return loss / AdvantageUnit().observe([advantages]) if syncan else loss
