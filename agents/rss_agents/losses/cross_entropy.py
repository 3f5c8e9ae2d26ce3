"""Cross-entropy with labels that are known in part, or that do not count alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from rss_env.labels import VOID


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


def weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, gamma: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy in which classes, and pixels that are wrong, count more.

    A pixel whose class c has probability p counts weights[c] (1 - p)^gamma times.

    Args:
        logits: (B, C, H, W), differentiable.
        labels: (B, H, W) int64, 255 for void.
        weights: (C,), of the classes.
        gamma: Focus on pixels that are wrong; 0: none.

    Returns:
        Two scalars: the sum over valid pixels, and the sum of their classes' weights, by which
        it is divided for a mean.

    Source: focal loss, Lin et al., arXiv 1708.02002, with a softmax over the classes.
    """
    entropy = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="none")
    valid = labels != VOID
    of_pixels = weights[labels.where(valid, 0)] * valid
    focus = (1 - (-entropy).exp()).clamp(min=0) ** gamma if gamma else 1.0
    return (of_pixels * focus * entropy).sum(), of_pixels.sum()
