"""Pixel counts of action maps, and the scores they make: the CUDA backend of `score_maps`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded
from rss_env.rewards import METRICS

CHUNK = 4096  # cells of a program
_SCORED = 256  # elements of a tile, of float64


@triton.jit
def count_classes(
    actions,  # (G, K, Q) uint8
    table,  # (M, P) uint8, or (M, P, C + 1) integers
    index,  # (G,) int64
    mirrored,  # (G,) bool
    counts,  # (G, K, S, 2, C) int32, zeros; added to at `scale`
    group_size,
    all_cells,  # Q
    offset,  # of this scale's cells
    cells,  # P
    columns,
    num_scales,
    scale,
    num_classes,
    PIXELS: tl.constexpr,  # whether the table holds labels
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Add a chunk of a map's cells, class by class, to its counts."""
    n = tl.program_id(0).to(tl.int64)
    m, flip = tl.load(index + n // group_size), tl.load(mirrored + n // group_size)
    classes = tl.arange(0, CLASSES)
    right = tl.zeros((BLOCK, CLASSES), tl.int32)
    valid = tl.zeros((BLOCK, CLASSES), tl.int32)
    first = tl.program_id(1) * CHUNK
    for start in range(first, min(first + CHUNK, cells), BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < cells
        place = n * all_cells + offset + p
        choice = tl.load(actions + place, mask=inside, other=255).to(tl.int32)
        cell = m * cells + tl.where(flip, p + (columns - 1 - 2 * (p % columns)), p)
        if PIXELS:
            label = tl.load(table + cell, mask=inside, other=255).to(tl.int32)
            cell_valid = (label != 255).to(tl.int32)
            cell_right = (label == choice).to(tl.int32) * cell_valid
        else:
            row = table + cell * (num_classes + 1)
            # An unchecked action may exceed C: it counts for nothing.
            known = inside & (choice < num_classes)
            cell_right = tl.load(row + choice, mask=known, other=0).to(tl.int32)
            cell_valid = tl.load(row + num_classes, mask=known, other=0).to(tl.int32)
        chosen = choice[:, None] == classes[None, :]
        right += tl.where(chosen, cell_right[:, None], 0)
        valid += tl.where(chosen, cell_valid[:, None], 0)
    target = counts + (n * num_scales + scale) * 2 * num_classes + classes
    tl.atomic_add(target, tl.sum(right, 0), mask=classes < num_classes, sem="relaxed")
    tl.atomic_add(target + num_classes, tl.sum(valid, 0), mask=classes < num_classes, sem="relaxed")


def tile_of(num_classes: int) -> dict[str, int]:
    """The constants that C decides."""
    side = padded(num_classes)
    return {"CLASSES": side, "BLOCK": block_beside(side), "CHUNK": CHUNK}


def action_counts_triton(
    actions: torch.Tensor,
    tables: Sequence[torch.Tensor],
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: Sequence[int],
    num_classes: int,
) -> torch.Tensor:
    """Count by comparing tiles of cells with all classes; as `action_counts`."""
    groups, group_size, all_cells = actions.shape
    scales, offset = len(tables), 0
    counts = actions.new_zeros(groups, group_size, scales, 2, num_classes, dtype=torch.int32)
    for scale, table in enumerate(tables):
        cells = table.shape[1]
        launch(
            count_classes,
            (groups * group_size, triton.cdiv(cells, CHUNK)),
            *(actions, table, index, mirrored, counts, group_size, all_cells, offset),
            *(cells, columns[scale], scales, scale, num_classes),
            PIXELS=table.ndim == 2,
            **tile_of(num_classes),
        )
        offset += cells
    return counts


@triton.jit
def score_counts(
    counts,  # (G, K, S, 2, C) int32
    class_pixels,  # (M, C) int64
    index,  # (G,) int64
    weights,  # (S,) float32
    scores,  # (G, K, S) float32; written
    means,  # (G, K) float32; written
    maps,  # G * K
    group_size,
    num_scales,
    num_classes,
    METRIC: tl.constexpr,  # weights of hits, maps, labels and overlap; whether it is pooled
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Score a block of maps at all scales, and average."""
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, CLASSES)[None, :]
    image = tl.load(index + n // group_size, mask=n < maps, other=0)[:, None]
    inside = (n < maps)[:, None] & (c < num_classes)
    labelled = tl.load(class_pixels + image * num_classes + c, mask=inside, other=0).to(tl.float64)
    mean = tl.zeros((BLOCK,), tl.float32)
    for s in range(num_scales):
        row = counts + (n * num_scales + s)[:, None] * 2 * num_classes + c
        # float64, as in the reference: the sum over classes rounds away when it is narrowed
        right = tl.load(row, mask=inside, other=0).to(tl.float64)
        predicted = tl.load(row + num_classes, mask=inside, other=0).to(tl.float64)
        if METRIC[4] != 0:  # pooled
            hits = tl.sum(right, 1)
            whole = METRIC[1] * tl.sum(predicted, 1) + METRIC[2] * tl.sum(labelled, 1)
            whole += METRIC[3] * hits
            score = tl.where(whole > 0, METRIC[0] * hits / tl.where(whole > 0, whole, 1.0), 0.0)
        else:
            whole = METRIC[1] * predicted + METRIC[2] * labelled + METRIC[3] * right
            ratios = METRIC[0] * right / tl.where(whole > 0, whole, 1.0)
            counted = tl.sum((whole > 0).to(tl.int32), 1).to(tl.float64)
            score = tl.sum(tl.where(whole > 0, ratios, 0.0), 1) / tl.maximum(counted, 1.0)
        narrow = score.to(tl.float32)
        tl.store(scores + n * num_scales + s, narrow, mask=n < maps)
        mean += narrow * tl.load(weights + s)
    tl.store(means + n, mean, mask=n < maps)


def constants_of(metric: str, num_classes: int) -> dict[str, Any]:
    """The constants that the metric and C decide."""
    side = padded(num_classes)
    return {
        "METRIC": tuple(METRICS[metric].coefficients.tolist()),
        "CLASSES": side,
        "BLOCK": block_beside(side, _SCORED),
    }


def metric_scores_triton(
    metric: str,
    counts: torch.Tensor,
    class_pixels: torch.Tensor,
    index: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and average in one go; as `metric_scores`."""
    groups, group_size, scales, _, num_classes = counts.shape
    scores = torch.empty(groups, group_size, scales, dtype=torch.float32, device=counts.device)
    means, maps = torch.empty_like(scores[..., 0]), groups * group_size
    constants = constants_of(metric, num_classes)
    launch(
        score_counts,
        (triton.cdiv(maps, constants["BLOCK"]),),
        *(counts, class_pixels, index, weights, scores, means),
        *(maps, group_size, scales, num_classes),
        enable_fp_fusion=False,  # a product and a sum round one by one, as on the CPU
        **constants,
    )
    return scores, means
