"""What a metric makes of expected counts, and how it changes with them: scores and their slopes.

The metrics of `rewards`, on counts that are expectations; all maps in one pass. The slopes are what
a gradient is made of, and say how scores vary together.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from rss_env.kernels.dispatch import BatchLoop, choose, traceable
from rss_env.kernels.metric_scores import DICE, MEAN_ACCURACY, MIOU, PIXEL_ACCURACY
from rss_env.rewards import METRICS

# A class in the map is counted by the metric for certain; one that is not, only if the label has
# it. Its expected share of the image is turned into that chance as share / (share + this).
PRESENCE_SHARE = 0.005
_TINY = 1e-6  # what nothing is divided by less than


def class_ratios(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor, metric: str
) -> torch.Tensor:
    """The metric of every class from expected counts of its pixels, all of one shape."""
    if metric == "mean_accuracy":
        return right / labelled.clamp(min=_TINY)
    if metric == "miou":
        return right / (predicted + labelled - right).clamp(min=_TINY)
    return 2 * right / (predicted + labelled).clamp(min=_TINY)


def class_ratio_slopes(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor, metric: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """How `class_ratios` grow with pixels that are right, and with pixels predicted."""
    if metric == "mean_accuracy":
        return 1 / labelled.clamp(min=_TINY), torch.zeros_like(right)
    whole = predicted + labelled - (right if metric == "miou" else 0)
    once = 1 if metric == "miou" else 2
    shrinking = torch.where(whole >= _TINY, once * right / whole.square(), 0)
    by_right = once / whole.clamp(min=_TINY) + (shrinking if metric == "miou" else 0)
    return by_right, -shrinking


def _score(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor, metric: str
) -> torch.Tensor:
    """The metric (...) of expected counts (..., C)."""
    cells = predicted.sum(-1)
    if metric == "pixel_accuracy":
        return right.sum(-1) / cells
    counted = labelled / (labelled + PRESENCE_SHARE * cells[..., None])
    if metric != "mean_accuracy":
        counted = torch.where(predicted > 0, 1.0, counted)
    ratios = class_ratios(right, predicted, labelled, metric)
    return (ratios * counted).sum(-1) / counted.sum(-1).clamp(min=_TINY)


def expected_scores_reference(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor, metric: str
) -> torch.Tensor:
    """The scores by the metrics' definitions, the slopes by differentiating them."""
    with torch.enable_grad():
        counts = right.detach().requires_grad_()
        labels = labelled.detach()[:, None].expand_as(right).requires_grad_()
        scores = _score(counts, predicted, labels, metric)
        slopes = torch.autograd.grad(scores.sum(), (counts, labels), materialize_grads=True)
    return torch.stack([scores.detach()[..., None].expand_as(right), *slopes])


@BatchLoop
def _score_with_slopes(
    right,  # (B, N, S, C) floating point
    predicted,  # (B, N, S, C) floating point
    labelled,  # (B, S, C) floating point
    metric,  # index in METRICS
    result,  # (3, B, N, S, C) floating point; written: scores, slopes in `right` and in `labelled`
):
    images, members, scales, classes = right.shape
    once = 2.0 if metric == DICE else 1.0  # what a hit counts for in the class's ratio
    for n in numba.prange(images * members):
        b, k = n // members, n % members
        ratios, counted, wholes = np.empty(classes), np.empty(classes), np.empty(classes)
        for s in range(scales):
            hits, maps, labels = right[b, k, s], predicted[b, k, s], labelled[b, s]
            cells, total, weight = 0.0, 0.0, 0.0
            for c in range(classes):
                cells += maps[c]
            if metric == PIXEL_ACCURACY:
                for c in range(classes):
                    total += hits[c]
                result[0, b, k, s] = total / cells
                result[1, b, k, s] = 1 / cells
                result[2, b, k, s] = 0
                continue
            for c in range(classes):
                counted[c] = labels[c] / (labels[c] + PRESENCE_SHARE * cells)
                if maps[c] > 0 and metric != MEAN_ACCURACY:
                    counted[c] = 1
                wholes[c] = labels[c]
                if metric != MEAN_ACCURACY:
                    wholes[c] += maps[c]
                if metric == MIOU:
                    wholes[c] -= hits[c]
                ratios[c] = once * hits[c] / max(wholes[c], _TINY)
                total += ratios[c] * counted[c]
                weight += counted[c]
            divisor = max(weight, _TINY)
            score = total / divisor
            result[0, b, k, s] = score
            for c in range(classes):
                by_right, by_label = once / max(wholes[c], _TINY), 0.0
                if wholes[c] >= _TINY:
                    by_label = -ratios[c] / wholes[c]
                    if metric == MIOU:
                        by_right -= by_label
                result[1, b, k, s, c] = by_right * counted[c] / divisor
                by_label *= counted[c]
                if maps[c] == 0 or metric == MEAN_ACCURACY:
                    gain = ratios[c] - (score if weight >= _TINY else 0.0)
                    presence = labels[c] + PRESENCE_SHARE * cells
                    by_label += gain * PRESENCE_SHARE * cells / (presence * presence)
                result[2, b, k, s, c] = by_label / divisor


def _empty_scores(right, predicted, labelled, metric: str, **_) -> torch.Tensor:
    return right.new_empty(3, *right.shape)


@traceable("expected_scores", _empty_scores)
def _forward(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Scores, for every class alike, and both slopes: (3, B, N, S, C)."""
    if choose(backend, right) == "reference":
        return expected_scores_reference(right, predicted, labelled, metric)
    result = _empty_scores(right, predicted, labelled, metric)
    batch = right.shape[0] * right.shape[1]
    _score_with_slopes(batch, right, predicted, labelled, METRICS.index(metric), result)
    return result


class _ExpectedScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        right: torch.Tensor,
        predicted: torch.Tensor,
        labelled: torch.Tensor,
        metric: str,
        backend: str,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        given = (right, predicted, labelled, metric)
        every, by_right, by_label = _forward(*given, backend=backend).unbind()
        ctx.save_for_backward(by_right, by_label)
        ctx.mark_non_differentiable(by_right, by_label)
        return every[..., 0].clone(), by_right, by_label

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        by_right, by_label = ctx.saved_tensors
        owed = gradients[0][..., None]
        return owed * by_right, None, (owed * by_label).sum(1), None, None


def expected_scores(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The metric of expected counts; exact for labels that are certain.

    Args:
        right: (B, N, S, C) floating point, expected true positives, in cells.
        predicted: (B, N, S, C) floating point, cells of each class in the maps.
        labelled: (B, S, C) floating point, expected cells of each class in the labels.
        metric: One of `rewards.METRICS`.
        backend: `auto`, `reference` or `numba`.

    Returns:
        Scores (B, N, S), differentiable once in `right` and `labelled`, and their slopes in each,
        (B, N, S, C), without gradient.
    """
    given = (right, predicted, labelled, metric, backend)
    return _ExpectedScores.apply(*given)  # pyright: ignore[reportReturnType]
