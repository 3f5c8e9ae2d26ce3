"""Scores of expected counts and their slopes: the CUDA backend of `expected_scores`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded
from rss_env.rewards import METRICS

_TILE = 1024  # elements, of float64
_TINY = tl.constexpr(1e-6)  # what nothing is divided by less than


@triton.jit
def score_with_slopes(
    right,  # (B, N, S, C) floating point
    predicted,  # (B, N, S, C) floating point
    labelled,  # (B, S, C) floating point
    result,  # (3, B, N, S, C) floating point; written: scores, slopes in `right` and in `labelled`
    rows,  # B * N * S
    rows_of_image,  # N * S
    num_scales,
    num_classes,
    METRIC: tl.constexpr,  # weights of hits, maps, labels and overlap; whether it is pooled
    PRESENCE_SHARE: tl.constexpr,
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Score a block of maps, each at one scale."""
    row = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[:, None]
    c = tl.arange(0, CLASSES)[None, :]
    inside = (row < rows) & (c < num_classes)
    place = row * num_classes + c
    place_of_label = (row // rows_of_image * num_scales + row % num_scales) * num_classes + c
    hits = tl.load(right + place, mask=inside, other=0.0).to(tl.float64)
    maps = tl.load(predicted + place, mask=inside, other=0.0).to(tl.float64)
    labels = tl.load(labelled + place_of_label, mask=inside, other=0.0).to(tl.float64)
    cells = tl.where(row < rows, tl.sum(maps, 1)[:, None], 1.0)
    if METRIC[4] != 0:  # pooled
        total = tl.sum(hits, 1)[:, None]
        whole = (METRIC[2] + METRIC[1]) * cells + METRIC[3] * total
        score = METRIC[0] * total / whole
        by_right = (METRIC[0] - METRIC[3] * score) / whole
        by_label = tl.zeros_like(hits)
    else:
        share = PRESENCE_SHARE * cells
        counted = labels / (labels + share)
        by_presence = share / ((labels + share) * (labels + share))
        if METRIC[1] != 0:  # a class in the map counts for certain
            counted = tl.where(maps > 0, 1.0, counted)
            by_presence = tl.where(maps > 0, 0.0, by_presence)
        tiny = tl.full((BLOCK, CLASSES), _TINY, tl.float64)
        whole = METRIC[2] * labels + METRIC[1] * maps + METRIC[3] * hits
        is_something = whole >= tiny
        divisor = tl.where(is_something, whole, tiny)
        ratios = METRIC[0] * hits / divisor
        weight = tl.sum(counted, 1)[:, None]
        is_counted = weight >= tiny
        weights = tl.where(is_counted, weight, tiny)
        score = tl.sum(ratios * counted, 1)[:, None] / weights
        falling = tl.where(is_something, ratios / divisor, 0.0)
        by_right = (METRIC[0] / divisor - METRIC[3] * falling) * counted / weights
        gain = (ratios - tl.where(is_counted, score, 0.0)) * by_presence
        by_label = (gain - METRIC[2] * falling * counted) / weights
    alike = tl.zeros_like(hits)  # of all classes
    tl.store(result + place, score + alike, mask=inside)
    tl.store(result + (row + rows) * num_classes + c, by_right + alike, mask=inside)
    tl.store(result + (row + 2 * rows) * num_classes + c, by_label, mask=inside)


def constants_of(metric: str, presence_share: float, num_classes: int) -> dict[str, Any]:
    """The constants that the metric and C decide."""
    side = padded(num_classes)
    return {
        "METRIC": tuple(METRICS[metric].coefficients.tolist()),
        "PRESENCE_SHARE": float(presence_share),
        "CLASSES": side,
        "BLOCK": block_beside(side, _TILE),
    }


def expected_scores_triton(
    right: torch.Tensor,
    predicted: torch.Tensor,
    labelled: torch.Tensor,
    metric: str,
    presence_share: float,
) -> torch.Tensor:
    """Scores and slopes (3, B, N, S, C), worked out in float64; as `expected_scores`."""
    _, num_maps, num_scales, num_classes = right.shape
    result = right.new_empty(3, *right.shape)
    rows, constants = (
        right.numel() // num_classes,
        constants_of(metric, presence_share, num_classes),
    )
    launch(
        score_with_slopes,
        (triton.cdiv(rows, constants["BLOCK"]),),
        *(right, predicted, labelled, result),
        *(rows, num_maps * num_scales, num_scales, num_classes),
        **constants,
    )
    return result
