"""The score of every map from its counts: the metrics of `rewards`, all maps in one pass."""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_env.arrays import Array, alike, as_array, as_tensor
from rss_env.errors import check_choice
from rss_env.kernels.dispatch import BatchLoop, choose
from rss_env.rewards import METRICS, score_counts

# What a loop is told of the metric.
MIOU, PIXEL_ACCURACY, MEAN_ACCURACY, DICE = (
    METRICS.index(name) for name in ("miou", "pixel_accuracy", "mean_accuracy", "dice")
)


def metric_scores_reference(
    metric: str, counts: torch.Tensor, class_pixels: torch.Tensor, index: torch.Tensor
) -> torch.Tensor:
    """The scores by the metrics' definitions."""
    right, predicted = counts.unbind(3)
    return score_counts(metric, right, predicted, class_pixels[index][:, None, None])


@numba.njit(cache=True, inline="always")
def _weighted_mean(scores, weights):
    """The weighted mean of (S,) float32 scores, added up coarse to fine."""
    total = scores[0] * weights[0]
    for s in range(1, weights.size):
        total += scores[s] * weights[s]
    return total


@BatchLoop
def _score(
    metric,  # index in METRICS
    counts,  # (G, K, S, 2, C) int32
    class_pixels,  # (M, C) int64
    index,  # (G,) int64
    weights,  # (S,) float32
    scores,  # (G, K, S) float32; written
    means,  # (G * K,) float32; written: weighted means of the scores
):
    groups, members, scales, _, classes = counts.shape
    for n in numba.prange(groups * members):
        g, k = n // members, n % members
        for s in range(scales):
            # float64, as in the reference: the sum over classes rounds away when it is narrowed
            total, counted = 0.0, 0.0
            for c in range(classes):
                right = np.float64(counts[g, k, s, 0, c])
                predicted = np.float64(counts[g, k, s, 1, c])
                labelled = np.float64(class_pixels[index[g], c])
                if metric == MIOU:
                    part, whole = right, predicted + labelled - right
                elif metric == DICE:
                    part, whole = 2.0 * right, predicted + labelled
                else:
                    part, whole = right, labelled
                if metric == PIXEL_ACCURACY:
                    total, counted = total + part, counted + whole
                elif whole > 0.0:
                    total, counted = total + part / whole, counted + 1.0
            scores[g, k, s] = total / max(counted, 1.0)
        means[n] = _weighted_mean(scores[g, k], weights)


def metric_scores(
    metric: str,
    counts: Array,
    class_pixels: Array,
    index: Array,
    *,
    backend: str = "auto",
) -> Array:
    """Score K maps of each image on each of S scales.

    Takes tensors and gives a tensor, or takes arrays and gives an array.

    Args:
        metric: One of `rewards.METRICS`.
        counts: (G, K, S, 2, C) int32 from `class_counts.action_counts`.
        class_pixels: (M, C) int64, labelled pixels of each class in each image.
        index: (G,) int64, the image each group of K maps belongs to.
        backend: `auto`, `reference` or `numba`.

    Returns:
        (G, K, S) float32 in [0, 1]; 0 for an image with no valid pixel.

    Raises:
        InputError: If the metric is unknown.
    """
    if metric not in METRICS:
        check_choice("metric", metric, METRICS)
    if choose(backend, counts) != "numba":
        tensors = (as_tensor(counts), as_tensor(class_pixels), as_tensor(index))
        return alike(counts, metric_scores_reference(metric, *tensors))
    given = (as_array(counts), as_array(class_pixels), as_array(index))
    return alike(counts, score_arrays(metric, *given, np.zeros(counts.shape[2], np.float32))[0])


def score_arrays(
    metric: str,
    counts: np.ndarray,
    class_pixels: np.ndarray,
    index: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """As `metric_scores` and `weighted_means`, of C-contiguous arrays, in one pass.

    Nothing is asked that takes a single map time.

    Returns:
        Scores (G, K, S) and their means (G * K,), float32.
    """
    scores = np.empty(counts.shape[:3], np.float32)
    batch = counts.shape[0] * counts.shape[1]
    means, code = np.empty(batch, np.float32), METRICS.index(metric)
    _score.on_arrays(batch, code, counts, class_pixels, index, weights, scores, means)
    return scores, means


@BatchLoop
def _weigh(
    scores,  # (N, S) float32
    weights,  # (S,) float32
    means,  # (N,) float32; written
):
    for n in numba.prange(scores.shape[0]):
        means[n] = _weighted_mean(scores[n], weights)


def weighted_means(scores: Array, weights: Array) -> Array:
    """Weighted means over scales, added up coarse to fine, whatever the batch's size.

    Args:
        scores: (N, S) float32, tensors or C-contiguous arrays.
        weights: (S,) float32, of sum 1.

    Returns:
        (N,) float32.
    """
    if isinstance(scores, torch.Tensor):
        return (scores * weights).cumsum(1)[:, -1]  # `sum` adds in an order of its own
    means = np.empty(len(scores), np.float32)
    _weigh.on_arrays(len(scores), scores, as_array(weights), means)
    return means
