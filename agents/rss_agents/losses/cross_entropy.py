"""Cross-entropy with labels that are known in part."""

from __future__ import annotations

import torch


def coarsened_cross_entropy(probabilities: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with labels of which only some classes' shares are known.

    What the known shares leave of a cell belongs to its other classes, whichever: their
    probabilities are added up. With every share known it is the cross-entropy with the shares; a
    cell that is void (no share of any class) counts nothing.

    Args:
        probabilities: (B, C, P), differentiable.
        shares: (B, C, P) shares of classes in each cell, summing to at most 1 over C; negative
            where not known.

    Returns:
        A scalar: the mean over cells.

    Source: the likelihood of coarsened data (Heitjan and Rubin, Annals of Statistics, 1991).
    """
    known = shares >= 0
    known_shares = shares.clamp(min=0)
    others = (probabilities * ~known).sum(1).clamp(min=1e-8).log()
    left = (1 - known_shares.sum(1)).clamp(min=0) * (~known).any(1)
    return -((known_shares * probabilities.clamp(min=1e-8).log()).sum(1) + left * others).mean()
