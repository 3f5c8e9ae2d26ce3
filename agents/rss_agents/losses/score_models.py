"""Score models: predictions of the scores of action maps, to hold against feedback.

`linear` knows nothing of the metric: every cell adds its own share, the logit of its class in units
of reward. `metric` knows the formula of the score but not the labels: it takes the network's own
class probabilities for the unknown label and works out, in differentiable counts, what the metric
would say of a map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch

from rss_agents.distributed import own_rows, world_size
from rss_agents.kernels.cell_uncertainty import cell_uncertainty as weighted_uncertainty
from rss_agents.kernels.expected_counts import expected_and_label_counts, expected_counts
from rss_agents.kernels.expected_scores import class_ratio_slopes, expected_scores
from rss_agents.kernels.label_covariance import label_covariance
from rss_agents.kernels.map_rows import gather_maps
from rss_agents.kernels.systematic_sample import sample_offsets, systematic_sample
from rss_agents.losses.score_model_config import MetricModelConfig
from rss_agents.random_draws import RandomDraws
from rss_env.action_maps import ActionMapGeometry
from rss_env.rewards import METRICS


@dataclass(frozen=True)
class CellSample:
    """Cells of every scale of each image of a batch.

    Attributes:
        cells: (B, M) int64, numbers of flat cells, scale after scale.
        counts: (B, M) floating point, how many cells of its scale each stands for.
        offsets: Where each scale starts among the M, and M last; S + 1 in all.
    """

    cells: torch.Tensor
    counts: torch.Tensor
    offsets: tuple[int, ...]


def sample_cells(
    importance: torch.Tensor,
    offsets: Sequence[int],
    draws: RandomDraws,
    model: MetricModelConfig,
) -> CellSample:
    """Draw cells so that sums over those drawn are, on average, sums over all.

    Args:
        importance: (B, cells), not negative.
        offsets: Where each scale starts, and where the last ends; S + 1 in all.
        draws: Random numbers, on the same device and alike on all ranks.
        model: How many cells are drawn of a scale, at most, and how.
    """
    starts = own_rows(draws.uniform(len(importance) * world_size(), len(offsets) - 1))
    most = model.covariance_cells
    cells, counts = systematic_sample(importance, starts, offsets, most, model.uniform_share)
    return CellSample(cells, counts, sample_offsets(offsets, most))


def linear_prediction(
    logits: torch.Tensor, maps: torch.Tensor, offsets: Sequence[int]
) -> torch.Tensor:
    """Predicted scores of maps: the mean over cells of the logit of the cell's class.

    Args:
        logits: (B, C, cells) in units of reward.
        maps: (B, N, cells) uint8.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.

    Returns:
        (B, N, S).

    Source: value decomposition (Sunehag et al., arXiv 1706.05296).
    """
    sums = expected_counts(logits, maps, offsets).sum(3).unbind(2)
    cells = (stop - start for start, stop in pairwise(offsets))
    return torch.stack([own / count for own, count in zip(sums, cells, strict=True)], 2)


def class_values(
    right: torch.Tensor, share: torch.Tensor, metric: str, presence_share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gain and cost of one more pixel of a class under a metric: the gain only if it is right.

    The metric is the sum over classes, each weighted by its probability to be in
    an image, on pixels whose labels follow probabilities and whose predictions follow them too.

    Args:
        right: (C,) mean over pixels of the squared probability of each class.
        share: (C,) mean over pixels of the probability.
        metric: As in `metric_prediction`.
        presence_share: As in `expected_scores`.

    Returns:
        Gains (C,), due with a class's probability, and costs (C,), due always.
    """
    if METRICS[metric].pooled:  # every pixel is worth the same, whatever its class
        return torch.ones_like(right), torch.zeros_like(right)
    presence = share / (share + presence_share)
    by_hits, by_predictions = class_ratio_slopes(right, share, share, metric)
    return presence * by_hits, -presence * by_predictions


@dataclass(frozen=True)
class MetricPrediction:
    """Predicted scores of N maps at S scales under a metric, and their slopes.

    Attributes:
        scores: (B, N, S) in [0, 1], differentiable in the beliefs.
        hit_weights: (B, N, S, C) slopes in the true positives of each class.
        class_weights: (B, N, S, C) slopes in the labelled cells of each class.
        candidates: (B, N, S, M) what M formulas predict, without gradient, if it is a mixture.
    """

    scores: torch.Tensor
    hit_weights: torch.Tensor
    class_weights: torch.Tensor
    candidates: torch.Tensor | None = None


def predict_scores(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    presence_share: float,
) -> MetricPrediction:
    """Predict scores of a metric from expected counts; see `kernels.expected_scores`."""
    return MetricPrediction(*expected_scores(right, predicted, labelled, metric, presence_share))


class Formula(Protocol):
    """Makes predicted scores of expected counts."""

    def __call__(
        self,
        right: torch.Tensor,
        predicted: torch.Tensor,
        labelled: torch.Tensor,
        presence_share: float,
    ) -> MetricPrediction:
        """Predict: counts as in `kernels.expected_scores`."""
        ...


def metric_prediction(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    predicted: torch.Tensor,
    offsets: Sequence[int],
    metric: str | Formula,
    rows: torch.Tensor | None = None,
    *,
    presence_share: float,
) -> MetricPrediction:
    """Predict the score of each map under a formula, if labels follow the probabilities.

    The ratios are taken of expected counts: exact for labels that are certain, and close to the
    expectation of the ratio for the large counts of a map.

    Args:
        probabilities: (B, C, cells), summing to 1 over C.
        maps: (B, N, cells) uint8; or a table (R, cells).
        predicted: (B, N, S, C) cells of each class in the maps.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        metric: `miou`, `dice`, `mean_accuracy` or `pixel_accuracy`; see `rss_env.rewards`. Or
            another formula.
        rows: (B, N) int64 of the table; None without one.
        presence_share: As in `expected_scores`.
    """
    right, labelled = expected_and_label_counts(probabilities, maps, offsets, rows)
    if isinstance(metric, str):
        return predict_scores(right, predicted, labelled, metric, presence_share)
    return metric(right, predicted, labelled, presence_share)


def cell_uncertainty(
    probabilities: torch.Tensor, prediction: MetricPrediction, offsets: Sequence[int]
) -> torch.Tensor:
    """Share of each cell's label in the variance of scores, roughly: (B, cells).

    Args:
        probabilities: (B, C, cells), summing to 1 over C.
        prediction: What is predicted of maps' scores.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
    """
    weights = prediction.hit_weights.square().mean(1)  # (B, S, C)
    return weighted_uncertainty(probabilities, weights, offsets)


def metric_covariance(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    prediction: MetricPrediction,
    geometry: ActionMapGeometry,
    *,
    sample: CellSample | None = None,
    rows: torch.Tensor | None = None,
    regions: MetricModelConfig | None = None,
) -> torch.Tensor:
    """Covariance of the scores of maps at each scale, if labels follow the probabilities.

    To first order in the counts, with the cells of the label independent of one another, or also
    with the logits of the whole image and of regions of it erring together. Without that, scores of
    maps that differ in whole regions are believed far too certainly.

    Args:
        probabilities: (B, C, cells), summing to 1 over C.
        maps: (B, N, cells) uint8; or a table (R, cells).
        prediction: What is predicted of their scores.
        geometry: Of the maps.
        sample: Cells that stand for all; None: all of them.
        rows: (B, N) int64 of the table; None without one.
        regions: Says of how many regions the logits err together, and how far. None: they do not.

    Returns:
        (B, S, N, N), without gradient.
    """
    probabilities, offsets = probabilities.detach(), geometry.offsets
    hits, others = prediction.hit_weights, prediction.class_weights
    if sample is None:
        covariance = label_covariance(probabilities, maps, hits, others, offsets, rows=rows)
    else:
        offsets, cells, counts = sample.offsets, sample.cells, sample.counts
        covariance = label_covariance(
            probabilities, maps, hits, others, offsets, cells, counts, rows=rows
        )
    if regions is None:
        return covariance
    own_maps = geometry.split(gather_maps(maps, rows))
    parts = (geometry.split(probabilities), own_maps, geometry.grids)
    for s, (rates, own, grid) in enumerate(zip(*parts, strict=True)):
        sides = (math.gcd(regions.regions, grid[0]), math.gcd(regions.regions, grid[1]))
        hit, everywhere = hits[:, :, s], others[:, :, s]
        slopes = _region_slopes(rates, own, hit, everywhere, grid, sides) * regions.region_error
        of_image = slopes.unflatten(2, (-1, rates.shape[1])).sum(2)
        covariance[:, s] += slopes @ slopes.mT + of_image @ of_image.mT
    return covariance


def _region_slopes(
    probabilities: torch.Tensor,  # (B, C, P)
    maps: torch.Tensor,  # (B, K, P)
    hit_weights: torch.Tensor,  # (B, K, C)
    class_weights: torch.Tensor,  # (B, K, C)
    grid: tuple[int, int],
    sides: tuple[int, int],  # number of regions along each side, R in all
) -> torch.Tensor:
    """Slopes (B, K, R * C) of the scores in the logits of each class in each region."""
    rows, columns = sides
    count = rows * columns

    def regions(cells: torch.Tensor) -> torch.Tensor:  # (B, N, P) -> (B * R, N, P / R)
        blocks = cells.unflatten(2, (rows, grid[0] // rows, columns, grid[1] // columns))
        return blocks.permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(0, 2).contiguous()

    rates, own = regions(probabilities), regions(maps)
    hit = hit_weights.repeat_interleave(count, 0)
    everywhere = class_weights.repeat_interleave(count, 0)
    right = expected_counts(rates, own, (0, own.shape[2]))[:, :, 0]
    index = own.long()
    gained = hit.gather(2, index) * rates.gather(1, index)
    slopes = hit * right + everywhere * rates.sum(2)[:, None]
    slopes = slopes - gained @ rates.mT - everywhere @ (rates @ rates.mT)
    return slopes.unflatten(0, (-1, count)).transpose(1, 2).flatten(2)
