"""Pixel counts of action maps, and the scores they make: the CUDA backend of `score_maps`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded
from rss_env.rewards import METRICS

CHUNK = 4096  # cells of a program
# Kernels take tuples of tensors since Triton 3.3; without, each scale is counted by a kernel.
_TAKES_TUPLES = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 3)
# Of a map of all scales that one program counts and scores.
MOST_CELLS = 4 * CHUNK if _TAKES_TUPLES else 0
_SCORED = 256  # elements of a tile, of float64


@triton.jit
def _count_cells(
    row,  # of a map's actions at this scale
    table,  # (M, P) uint8, or (M, P, C + 1) integers
    image,  # its row in the table
    flip,
    first,
    stop,
    cells,  # P
    columns,
    num_classes,
    PIXELS: tl.constexpr,
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """True positives and predicted pixels (CLASSES,) of the cells from `first` to `stop`."""
    classes = tl.arange(0, CLASSES)
    right = tl.zeros((BLOCK, CLASSES), tl.int32)
    valid = tl.zeros((BLOCK, CLASSES), tl.int32)
    for start in range(first, stop, BLOCK):
        p = start + tl.arange(0, BLOCK)
        inside = p < cells
        choice = tl.load(row + p, mask=inside, other=255).to(tl.int32)
        cell = image * cells + tl.where(flip, p + (columns - 1 - 2 * (p % columns)), p)
        if PIXELS:
            label = tl.load(table + cell, mask=inside, other=255).to(tl.int32)
            cell_valid = (label != 255).to(tl.int32)
            cell_right = (label == choice).to(tl.int32) * cell_valid
        else:
            counted = table + cell * (num_classes + 1)
            # An unchecked action may exceed C: it counts for nothing.
            known = inside & (choice < num_classes)
            cell_right = tl.load(counted + choice, mask=known, other=0).to(tl.int32)
            cell_valid = tl.load(counted + num_classes, mask=known, other=0).to(tl.int32)
        chosen = choice[:, None] == classes[None, :]
        right += tl.where(chosen, cell_right[:, None], 0)
        valid += tl.where(chosen, cell_valid[:, None], 0)
    return tl.sum(right, 0), tl.sum(valid, 0)


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
    image, flip = tl.load(index + n // group_size), tl.load(mirrored + n // group_size)
    row = actions + n * all_cells + offset
    first = tl.program_id(1) * CHUNK
    stop = min(first + CHUNK, cells)
    right, valid = _count_cells(
        row, table, image, flip, first, stop, cells, columns, num_classes, PIXELS, CLASSES, BLOCK
    )
    classes = tl.arange(0, CLASSES)
    target = counts + (n * num_scales + scale) * 2 * num_classes + classes
    tl.atomic_add(target, right, mask=classes < num_classes, sem="relaxed")
    tl.atomic_add(target + num_classes, valid, mask=classes < num_classes, sem="relaxed")


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
def _score(right, predicted, labelled, METRIC: tl.constexpr):
    """Scores (BLOCK,) of counts (BLOCK, CLASSES) float64, which are 0 beyond the last class."""
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
    return score.to(tl.float32)


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
        narrow = _score(right, predicted, labelled, METRIC)
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


@triton.jit
def count_and_score(
    actions,  # (G, K, Q) uint8
    tables,  # of each scale, (M, P) uint8 or (M, P, C + 1) integers
    index,  # (G,) int64
    mirrored,  # (G,) bool
    class_pixels,  # (M, C) int64
    weights,  # (S,) float32
    scores,  # (G, K, S) float32; written
    means,  # (G, K) float32; written
    group_size,
    num_classes,
    METRIC: tl.constexpr,
    OFFSETS: tl.constexpr,  # of the scales' cells, S + 1
    COLUMNS: tl.constexpr,  # of each scale
    PIXELS: tl.constexpr,  # of each scale, whether its table holds labels
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count the cells of one map at all scales, score them, and average."""
    n = tl.program_id(0).to(tl.int64)
    image, flip = tl.load(index + n // group_size), tl.load(mirrored + n // group_size)
    c = tl.arange(0, CLASSES)
    labelled = tl.load(class_pixels + image * num_classes + c, mask=c < num_classes, other=0)
    labelled = labelled.to(tl.float64)[None, :]
    mean = tl.zeros((1,), tl.float32)
    for s in tl.static_range(len(COLUMNS)):
        cells = OFFSETS[s + 1] - OFFSETS[s]
        row = actions + n * OFFSETS[len(COLUMNS)] + OFFSETS[s]
        right, valid = _count_cells(
            row,
            tables[s],
            image,
            flip,
            0,
            cells,
            cells,
            COLUMNS[s],
            num_classes,
            PIXELS[s],
            CLASSES,
            BLOCK,
        )
        # (An unchecked action may be a class beyond the last, which nobody asks for.)
        right = tl.where(c < num_classes, right, 0).to(tl.float64)[None, :]
        valid = tl.where(c < num_classes, valid, 0).to(tl.float64)[None, :]
        score = _score(right, valid, labelled, METRIC)
        tl.store(scores + n * len(COLUMNS) + s + tl.arange(0, 1), score)
        mean += score * tl.load(weights + s)
    tl.store(means + n + tl.arange(0, 1), mean)


def action_scores_triton(
    metric: str,
    actions: torch.Tensor,
    tables: Sequence[torch.Tensor],
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: Sequence[int],
    class_pixels: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Count and score, of maps with few cells in one go; as `action_scores`."""
    groups, group_size, all_cells = actions.shape
    num_classes = class_pixels.shape[1]
    if all_cells > MOST_CELLS:
        counts = action_counts_triton(actions, tables, index, mirrored, columns, num_classes)
        return metric_scores_triton(metric, counts, class_pixels, index, weights)
    scores = weights.new_empty(groups, group_size, len(tables))
    means = weights.new_empty(groups, group_size)
    launch(
        count_and_score,
        (groups * group_size,),
        *(actions, tuple(tables), index, mirrored, class_pixels, weights, scores, means),
        *(group_size, num_classes),
        enable_fp_fusion=False,
        OFFSETS=(0, *accumulate(table.shape[1] for table in tables)),
        COLUMNS=tuple(columns),
        PIXELS=tuple(table.ndim == 2 for table in tables),
        **scoring_of(metric, num_classes),
    )
    return scores, means


def scoring_of(metric: str, num_classes: int) -> dict[str, Any]:
    """The constants that the metric and C decide, of what counts and scores at once."""
    block = block_beside(padded(num_classes))  # of the tiles that cells are counted in
    return constants_of(metric, num_classes) | {"BLOCK": block}
