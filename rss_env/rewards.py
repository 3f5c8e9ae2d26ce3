"""Counts to scores: the image-level metrics, as pure functions of pixel counts.

All follow the usual definitions (Everingham et al., "The PASCAL Visual Object Classes Challenge",
IJCV 2010, for IoU), taken over one image: classes that stand in neither label nor map are left
out, as are void pixels. Turning one right pixel wrong never raises any of them.
"""

from __future__ import annotations

import torch

from rss_env.errors import check_choice


def _mean_where(values: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return (values * counted).sum(-1) / counted.sum(-1).clamp(min=1)


def _miou(right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
    union = predicted + labelled - right
    return _mean_where(right / union.clamp(min=1), union > 0)


def _dice(right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor) -> torch.Tensor:
    total = predicted + labelled
    return _mean_where(2 * right / total.clamp(min=1), total > 0)


def _mean_accuracy(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    return _mean_where(right / labelled.clamp(min=1), labelled > 0)


def _pixel_accuracy(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    return right.sum(-1) / labelled.sum(-1).clamp(min=1)


METRICS = {
    "miou": _miou,
    "pixel_accuracy": _pixel_accuracy,
    "mean_accuracy": _mean_accuracy,
    "dice": _dice,
}


def score_counts(
    metric: str, right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """Score maps from their pixel counts.

    Args:
        metric: `miou`, `dice` (means over the classes in label or map), `mean_accuracy` (mean over
            the classes in the label) or `pixel_accuracy`.
        right: (..., C) integers, true positives.
        predicted: (..., C) integers, valid pixels given each class.
        labelled: (..., C) integers, pixels labelled with each class.

    Returns:
        (...) float32 in [0, 1]; 0 for an image with no valid pixel.

    Raises:
        InputError: If the metric is unknown.
    """
    score = METRICS[check_choice("metric", metric, METRICS)]
    # float64: the sum over classes then rounds alike in every batch size
    return score(right.double(), predicted.double(), labelled.double()).float()
