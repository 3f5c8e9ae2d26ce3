"""Scores that a metric gives to expected counts, and their slopes: how they change with the counts.

The metrics of `rewards`, on counts that are expectations; all maps in one pass. The slopes are what
a gradient is made of, and say how scores vary together.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable
from rss_env.rewards import METRICS

_TINY = 1e-6  # what nothing is divided by less than


def _whole(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor, metric: str
) -> torch.Tensor:
    """The denominators of the metric's ratios."""
    ratio = METRICS[metric]
    return ratio.labelled * labelled + ratio.predicted * predicted + ratio.overlap * right


def class_ratios(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor, metric: str
) -> torch.Tensor:
    """The ratio of every class, of expected counts of its pixels, all of one shape."""
    whole = _whole(right, predicted, labelled, metric)
    return METRICS[metric].hits * right / whole.clamp(min=_TINY)


def class_ratio_slopes(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor, metric: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Slopes of each class's ratio in pixels that are right, and in pixels predicted.

    Args:
        right: (...) expected true positives.
        predicted: (...) pixels of the class in the map.
        labelled: (...) expected pixels of the class in the label.
        metric: One of `rewards.METRICS`.
    """
    ratio, whole = METRICS[metric], _whole(right, predicted, labelled, metric)
    falling = torch.where(whole >= _TINY, ratio.hits * right / whole.square(), 0)
    by_right = ratio.hits / whole.clamp(min=_TINY) - ratio.overlap * falling
    return by_right, 0 - ratio.predicted * falling


def _score(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    presence_share: float,
) -> torch.Tensor:
    """The metric (...) of expected counts (..., C)."""
    ratio, cells = METRICS[metric], predicted.sum(-1)
    if ratio.pooled:  # the classes of a map, and those of its label, add up to all cells
        right = right.sum(-1)
        whole = (ratio.labelled + ratio.predicted) * cells + ratio.overlap * right
        return ratio.hits * right / whole
    counted = labelled / (labelled + presence_share * cells[..., None])
    if ratio.predicted:  # a class in the map counts for certain
        counted = torch.where(predicted > 0, 1.0, counted)
    ratios = class_ratios(right, predicted, labelled, metric)
    return (ratios * counted).sum(-1) / counted.sum(-1).clamp(min=_TINY)


def expected_scores_reference(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    presence_share: float,
) -> torch.Tensor:
    """The scores by the metrics' definitions, the slopes by differentiating them."""
    with torch.enable_grad():
        counts = right.detach().requires_grad_()
        labels = labelled.detach()[:, None].expand_as(right).requires_grad_()
        scores = _score(counts, predicted, labels, metric, presence_share)
        slopes = torch.autograd.grad(scores.sum(), (counts, labels), materialize_grads=True)
    return torch.stack([scores.detach()[..., None].expand_as(right), *slopes])


@BatchLoop
def _score_with_slopes(
    right,  # (B, N, S, C) floating point
    predicted,  # (B, N, S, C) floating point
    labelled,  # (B, S, C) floating point
    metric,  # `RatioMetric.coefficients`
    presence_share,
    result,  # (3, B, N, S, C) floating point; written: scores, slopes in `right` and in `labelled`
):
    images, group_size, scales, classes = right.shape
    of_hits, of_maps, of_labels, overlap = metric[0], metric[1], metric[2], metric[3]
    for n in numba.prange(images * group_size):
        b, k = n // group_size, n % group_size
        ratios, counted, wholes = np.empty(classes), np.empty(classes), np.empty(classes)
        for s in range(scales):
            hits, maps, labels = right[b, k, s], predicted[b, k, s], labelled[b, s]
            cells, total, weight = 0.0, 0.0, 0.0
            for c in range(classes):
                cells += maps[c]
            if metric[4] > 0:  # pooled
                for c in range(classes):
                    total += hits[c]
                whole = (of_labels + of_maps) * cells + overlap * total
                score = of_hits * total / whole
                result[0, b, k, s] = score
                result[1, b, k, s] = (of_hits - overlap * score) / whole
                result[2, b, k, s] = 0
                continue
            for c in range(classes):
                counted[c] = labels[c] / (labels[c] + presence_share * cells)
                if maps[c] > 0 and of_maps != 0:
                    counted[c] = 1
                wholes[c] = of_labels * labels[c] + of_maps * maps[c] + overlap * hits[c]
                ratios[c] = of_hits * hits[c] / max(wholes[c], _TINY)
                total += ratios[c] * counted[c]
                weight += counted[c]
            divisor = max(weight, _TINY)
            score = total / divisor
            result[0, b, k, s] = score
            for c in range(classes):
                by_right, by_label = of_hits / max(wholes[c], _TINY), 0.0
                if wholes[c] >= _TINY:
                    falling = ratios[c] / wholes[c]
                    by_label = -of_labels * falling
                    by_right -= overlap * falling
                result[1, b, k, s, c] = by_right * counted[c] / divisor
                by_label *= counted[c]
                if maps[c] == 0 or of_maps == 0:
                    gain = ratios[c] - (score if weight >= _TINY else 0.0)
                    presence = labels[c] + presence_share * cells
                    by_label += gain * presence_share * cells / (presence * presence)
                result[2, b, k, s, c] = by_label / divisor


def _empty_scores(right, predicted, labelled, metric: str, *_, **__) -> torch.Tensor:
    return right.new_empty(3, *right.shape)


@traceable("expected_scores", _empty_scores)
def _forward(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    presence_share: float,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Scores, for every class alike, and both slopes: (3, B, N, S, C)."""
    backend = choose(backend, right, COMPILED)
    if backend == "reference":
        return expected_scores_reference(right, predicted, labelled, metric, presence_share)
    if backend == "triton":
        from rss_agents.kernels.triton.expected_scores import expected_scores_triton

        return expected_scores_triton(right, predicted, labelled, metric, presence_share)
    result = _empty_scores(right, predicted, labelled, metric)
    _score_with_slopes(
        right.shape[0] * right.shape[1],
        right,
        predicted,
        labelled,
        METRICS[metric].coefficients,
        presence_share,
        result,
    )
    return result


class _DifferentiableScores(torch.autograd.Function):
    """Scores that are known, with a gradient made of their slopes."""

    @staticmethod
    def forward(ctx: Any, right, labelled, scores, by_right, by_label) -> torch.Tensor:
        ctx.save_for_backward(by_right, by_label)
        return scores.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_right, by_label = ctx.saved_tensors
        gradient = gradients[0][..., None]
        return gradient * by_right, (gradient * by_label).sum(1), None, None, None


def expected_scores(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    presence_share: float,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The metric of expected counts; exact for labels that are certain.

    Args:
        right: (B, N, S, C) floating point, expected true positives, in cells.
        predicted: (B, N, S, C) floating point, cells of each class in the maps.
        labelled: (B, S, C) floating point, expected cells of each class in the labels.
        metric: One of `rewards.METRICS`.
        presence_share: A class that is not in the map counts as far as the label may have it: with
            the probability share / (share + this), where share is its expected share of the cells.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        Scores (B, N, S), differentiable once in `right` and `labelled`, and their slopes in each,
        (B, N, S, C), without gradient.
    """
    scores, by_right, by_label = _forward(
        right.detach(), predicted, labelled.detach(), metric, presence_share, backend=backend
    ).unbind()
    scores = _DifferentiableScores.apply(right, labelled, scores[..., 0], by_right, by_label)
    return scores, by_right, by_label  # pyright: ignore[reportReturnType]
