"""Counts to scores: the image-level metrics, as rows of a table and pure functions of counts.

All follow the usual definitions (Everingham et al., "The PASCAL Visual Object Classes Challenge",
IJCV 2010, for IoU), taken over one image: classes that stand in neither label nor map are left
out, as are void pixels. Turning one right pixel wrong never raises any of them.
"""

from __future__ import annotations

import functools
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rss_env.errors import check_choice

if TYPE_CHECKING:  # slow to import, and not needed to name metrics
    import torch


@dataclass(frozen=True)
class RatioMetric:
    """A metric that is a ratio of pixel counts: of each class, averaged over classes.

    With `tp` true positives, `pred` predicted and `label` labelled pixels of a class, its ratio is
    `hits * tp / (predicted * pred + labelled * label + overlap * tp)`. The score is the mean over
    the classes whose denominator is positive; 0 if there are none.

    Attributes:
        hits: Weight of true positives in the numerator.
        predicted: Weight of predicted pixels in the denominator.
        labelled: Weight of labelled pixels in the denominator.
        overlap: Weight of true positives in the denominator.
        pooled: Whether the counts of all classes are added up first, and make one ratio.
    """

    hits: float
    predicted: float
    labelled: float
    overlap: float
    pooled: bool = False

    @functools.cached_property
    def coefficients(self) -> npt.NDArray[np.float64]:
        """The row (5,) as kernels read it: its four weights, and 1 if it is pooled."""
        return np.array([float(value) for value in astuple(self)])

    def ratio(
        self, right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Divide counts of one shape, float64: the ratios, 0 where nothing counts, and what counts.

        Whole coefficients give exact terms, so that only the division rounds.
        """
        import torch

        whole = self.predicted * predicted + self.labelled * labelled + self.overlap * right
        counted = whole > 0
        return torch.where(counted, self.hits * right / whole, 0.0), counted


METRICS: dict[str, RatioMetric] = {
    "miou": RatioMetric(hits=1, predicted=1, labelled=1, overlap=-1),
    "pixel_accuracy": RatioMetric(hits=1, predicted=0, labelled=1, overlap=0, pooled=True),
    "mean_accuracy": RatioMetric(hits=1, predicted=0, labelled=1, overlap=0),
    "dice": RatioMetric(hits=2, predicted=1, labelled=1, overlap=0),
}
"""The metrics by name; a row added here is known everywhere."""


def metrics_of_classes() -> list[str]:
    """Names of the metrics that are means over classes."""
    return [name for name, metric in METRICS.items() if not metric.pooled]


def class_scores(
    metric: str, right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """Score every class of maps from their pixel counts; the metric is the mean of these.

    Args:
        metric: A key of `METRICS` that is not pooled.
        right: (..., C) integers, true positives.
        predicted: (..., C) integers, valid pixels given each class.
        labelled: (..., C) integers, pixels labelled with each class.

    Returns:
        (..., C) float32 in [0, 1]; NaN for classes that the metric leaves out.

    Raises:
        InputError: If the metric is not a mean over classes.
    """
    import torch

    row = METRICS[check_choice("metric of classes", metric, metrics_of_classes())]
    values, counted = row.ratio(right.double(), predicted.double(), labelled.double())
    return torch.where(counted, values, torch.nan).float()


def score_counts(
    metric: str, right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """Score maps from their pixel counts.

    Args:
        metric: A key of `METRICS`: `miou`, `dice` (means over the classes in label or map),
            `mean_accuracy` (mean over the classes in the label) or `pixel_accuracy`.
        right: (..., C) integers, true positives.
        predicted: (..., C) integers, valid pixels given each class.
        labelled: (..., C) integers, pixels labelled with each class.

    Returns:
        (...) float32 in [0, 1]; 0 for an image with no valid pixel.

    Raises:
        InputError: If the metric is unknown.
    """
    return score_counts_in_double(metric, right, predicted, labelled).float()


def score_counts_in_double(
    metric: str, right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """Score maps as `score_counts` does, before it rounds: (...) float64."""
    row = METRICS[check_choice("metric", metric, METRICS)]
    # float64: the sum over classes then rounds alike in every batch size
    right, predicted, labelled = right.double(), predicted.double(), labelled.double()
    if row.pooled:
        right, predicted, labelled = right.sum(-1), predicted.sum(-1), labelled.sum(-1)
        return row.ratio(right, predicted, labelled)[0]
    values, counted = row.ratio(right, predicted, labelled)
    return values.sum(-1) / counted.sum(-1).clamp(min=1)
