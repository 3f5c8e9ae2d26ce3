"""Counts to scores: the image-level metrics, as pure functions of pixel counts.

All follow the usual definitions (Everingham et al., "The PASCAL Visual Object Classes Challenge",
IJCV 2010, for IoU), taken over one image: classes that stand in neither label nor map are left
out, as are void pixels. Turning one right pixel wrong never raises any of them.
"""

from __future__ import annotations

import torch

from rss_env.errors import check_choice


def _iou(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    union = predicted + labelled - right
    return right / union.clamp(min=1), union > 0


def _dice(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    total = predicted + labelled
    return 2 * right / total.clamp(min=1), total > 0


def _accuracy(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return right / labelled.clamp(min=1), labelled > 0


# Metrics that are means over classes: the score of each, and which of them count.
CLASS_METRICS = {"miou": _iou, "mean_accuracy": _accuracy, "dice": _dice}
METRICS = ("miou", "pixel_accuracy", "mean_accuracy", "dice")


def class_scores(
    metric: str, right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """Score every class of maps from their pixel counts; the metric is the mean of these.

    Args:
        metric: A key of `CLASS_METRICS`.
        right: (..., C) integers, true positives.
        predicted: (..., C) integers, valid pixels given each class.
        labelled: (..., C) integers, pixels labelled with each class.

    Returns:
        (..., C) float32 in [0, 1]; NaN for classes that the metric leaves out.

    Raises:
        InputError: If the metric is not a mean over classes.
    """
    score = CLASS_METRICS[check_choice("metric of classes", metric, CLASS_METRICS)]
    values, counted = score(right.double(), predicted.double(), labelled.double())
    return torch.where(counted, values, torch.nan).float()


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
    check_choice("metric", metric, METRICS)
    # float64: the sum over classes then rounds alike in every batch size
    right, predicted, labelled = right.double(), predicted.double(), labelled.double()
    if metric == "pixel_accuracy":
        return (right.sum(-1) / labelled.sum(-1).clamp(min=1)).float()
    values, counted = CLASS_METRICS[metric](right, predicted, labelled)
    return ((values * counted).sum(-1) / counted.sum(-1).clamp(min=1)).float()
