"""Pixel counts of action maps, and the scores they make: K maps of each image, all in one pass.

True positives and predicted pixels of every class, with the labelled pixels, known per image
beforehand, give every score there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch

from rss_env.arrays import Array, alike, as_array, as_tensor
from rss_env.compiled import compiled
from rss_env.errors import check_choice
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable
from rss_env.kernels.label_table import each_scale, select_rows, walk_rows
from rss_env.labels import VOID
from rss_env.rewards import METRICS, score_counts


def class_counts_reference(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    num_classes: int,
) -> torch.Tensor:
    """Count by one-hot sums."""
    rows = select_rows(table, index, mirrored, columns)[:, None]  # (G, 1, P) or (G, 1, P, C + 1)
    chosen = torch.nn.functional.one_hot(maps.long(), num_classes)  # (G, K, P, C)
    if table.ndim == 2:
        right = (rows == maps).long()[..., None] * chosen
        valid = (rows != VOID).long()[..., None] * chosen
    else:
        right = rows[..., :-1].long() * chosen
        valid = rows[..., -1:].long() * chosen
    return torch.stack([right.sum(2), valid.sum(2)], 2).to(torch.int32)


# A count is packed into one number, true positives below and predicted pixels above 32 bits, and
# neighbouring cells count in different lanes: an addition need not wait for the one before it.
_LANES = 4


# Of so few classes, a cell's class and whether it is right make one byte, and a histogram of bytes
# is counted twice as fast.
_FEW_CLASSES, _NOTHING = 127, 255
_TILE = 1024  # bytes at a time


@compiled(inline="always")
def _code(choice, label, num_classes):
    """Encode a cell in a byte: twice its class, and one more where it is right; nothing if void.

    An unchecked action may exceed C: nobody asks for its count.
    """
    code = np.uint8(np.uint8(choice << np.uint8(1)) | np.uint8(choice == label))
    left_out = (label == np.uint8(VOID)) | (choice >= np.uint8(num_classes))
    return np.uint8(_NOTHING) if left_out else code


@BatchLoop
def _count_pixels(
    actions,  # (G, K, Q) uint8
    offset,  # of this scale's cells
    labels,  # (M, P) uint8
    index,  # (G,) int64
    mirrored,  # (G,) bool
    columns,
    counts,  # (G, K, S, 2, C) int32, C at most _FEW_CLASSES; written at `scale`
    scale,
):
    group_size, cells, num_classes = actions.shape[1], labels.shape[1], counts.shape[4]
    for n in numba.prange(actions.shape[0] * group_size):
        g, k = n // group_size, n % group_size
        codes, found = np.empty(_TILE, np.uint8), np.empty((_LANES, 256), np.int32)
        found[:, : 2 * num_classes] = 0
        width = columns if mirrored[g] else cells
        for start in range(0, cells, width):
            for part in range(0, width, _TILE):
                count = min(_TILE, width - part)
                first = offset + start + part
                row = actions[g, k, first : first + count]
                first = start + (width - part - count if mirrored[g] else part)
                truth = labels[index[g], first : first + count]
                if mirrored[g]:
                    last = np.uint64(count - 1)  # unsigned, as no index is below 0
                    for x in range(np.uint64(count)):
                        codes[x] = _code(row[x], truth[last - x], num_classes)
                else:
                    for x in range(count):
                        codes[x] = _code(row[x], truth[x], num_classes)
                for x in range(np.uint64(count)):
                    found[x % np.uint64(_LANES), codes[x]] += 1
        for c in range(num_classes):
            right = found[:, 2 * c + 1].sum()
            counts[g, k, scale, 0, c] = right
            counts[g, k, scale, 1, c] = right + found[:, 2 * c].sum()


@BatchLoop
def _count_cells(
    actions,  # (G, K, Q) uint8
    offset,  # of this scale's cells
    table,  # (M, P) uint8, or (M, P, C + 1) integers: numba compiles the branch of each
    index,  # (G,) int64
    mirrored,  # (G,) bool
    columns,
    counts,  # (G, K, S, 2, C) int32; written at `scale`
    scale,
):
    group_size, cells, num_classes = actions.shape[1], table.shape[1], counts.shape[4]
    last = np.uint64(num_classes)
    for n in numba.prange(actions.shape[0] * group_size):
        g, k = n // group_size, n % group_size
        # An unchecked action may exceed C: there is room for it, and nobody asks for its count.
        packed = np.zeros((_LANES, 256 if table.ndim == 2 else num_classes + 1), np.int64)
        width, first, step = walk_rows(mirrored[g], columns, cells)
        for start in range(0, cells, width):
            row = actions[g, k, offset + start : offset + start + width]
            truth = table[index[g], start : start + width]
            for x in range(np.uint64(width)):
                cell, choice = first + step * x, np.uint64(row[x])
                if table.ndim == 2:
                    valid, right = truth[cell] != VOID, truth[cell] == row[x]
                else:
                    choice = min(choice, last)
                    valid, right = truth[cell, last], truth[cell, choice]
                packed[x % np.uint64(_LANES), choice] += (np.int64(valid) << 32) + np.int64(right)
        for c in range(num_classes):
            total = packed[:, c].sum()
            counts[g, k, scale, 0, c] = total & 0xFFFFFFFF
            counts[g, k, scale, 1, c] = total >> 32


def action_counts(
    actions: Array,
    tables: Sequence[Array],
    index: Array,
    mirrored: Array,
    columns: Sequence[int],
    num_classes: int,
    *,
    backend: str = "auto",
) -> Array:
    """Count what K flat actions get right on each of S scales.

    Takes tensors and gives a tensor, or takes arrays and gives an array.

    Args:
        actions: (G, K, Q) uint8, the maps of all scales in a row.
        tables: Of each scale, (M, P) or (M, P, C + 1) from `label_table`; the P sum up to Q.
        index: (G,) int64, the image each group of K actions belongs to.
        mirrored: (G,) bool, whether that image is flipped horizontally.
        columns: Of each scale, cells in a row of the grid.
        num_classes: C.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (G, K, S, 2, C) int32, pixels: true positives, then predicted; see `class_counts`.
    """
    if isinstance(actions, torch.Tensor) or backend not in ("auto", "numba"):
        chosen = choose(backend, actions, COMPILED)
        if chosen != "numba":
            images, flips = as_tensor(index), as_tensor(mirrored)
            parts = [as_tensor(table) for table in tables]
            found = _count_tensors(
                as_tensor(actions), parts, images, flips, columns, num_classes, backend=chosen
            )
            return alike(actions, found)
        maps, images, flips = as_array(actions), as_array(index), as_array(mirrored)
        arrays = [as_array(table) for table in tables]
        return alike(actions, action_counts(maps, arrays, images, flips, columns, num_classes))
    # Arrays are taken as they are: a single environment would notice every conversion.
    counts = np.empty((*actions.shape[:2], len(tables), 2, num_classes), np.int32)
    batch, offset = actions.shape[0] * actions.shape[1], 0
    for s, table in enumerate(tables):
        loop = _count_pixels if table.ndim == 2 and num_classes <= _FEW_CLASSES else _count_cells
        loop.on_arrays(batch, actions, offset, table, index, mirrored, columns[s], counts, s)
        offset += table.shape[1]
    return counts  # pyright: ignore[reportReturnType]


def _empty_scales(actions, tables, index, mirrored, columns, num_classes, **_) -> torch.Tensor:
    shape = (*actions.shape[:2], len(tables), 2, num_classes)
    return actions.new_empty(shape, dtype=torch.int32)


@traceable("action_counts", _empty_scales)
def _count_tensors(
    actions: torch.Tensor,
    tables: Sequence[torch.Tensor],
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: Sequence[int],
    num_classes: int,
    *,
    backend: str = "reference",
) -> torch.Tensor:
    """Count by `reference` or `triton`."""
    if backend == "triton":
        from rss_env.kernels.triton.score_maps import action_counts_triton

        return action_counts_triton(actions, tables, index, mirrored, columns, num_classes)
    given = (actions, tables, index, mirrored, columns, num_classes, backend)
    return torch.stack(each_scale(class_counts, *given), 2)


def _empty_counts(maps, table, index, mirrored, columns, num_classes, **_) -> torch.Tensor:
    return maps.new_empty(*maps.shape[:2], 2, num_classes, dtype=torch.int32)


@traceable("class_counts", _empty_counts)
def class_counts(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    num_classes: int,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Count what K maps (G, K, P) of one scale get right; see `action_counts`.

    Returns:
        (G, K, 2, C) int32, pixels: true positives, then predicted. Void pixels are left out.
    """
    chosen = choose(backend, maps, COMPILED)
    if chosen == "reference":
        return class_counts_reference(maps, table, index, mirrored, columns, num_classes)
    if chosen == "triton":
        from rss_env.kernels.triton.score_maps import action_counts_triton

        found = action_counts_triton(maps, [table], index, mirrored, [columns], num_classes)
        return found[:, :, 0]
    return action_counts(maps, [table], index, mirrored, [columns], num_classes)[:, :, 0]


def weighted_means(scores: Array, weights: Array) -> Array:
    """Average scores (..., S) with weights (S,) of sum 1, added up coarse to fine: (...)."""
    total: Any = scores[..., 0] * weights[0]
    for s in range(1, len(weights)):  # `sum` adds in an order of its own
        total = total + scores[..., s] * weights[s]
    return total


def metric_scores_reference(
    metric: str,
    counts: torch.Tensor,
    class_pixels: torch.Tensor,
    index: torch.Tensor,
    weights: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score by the metrics' definitions."""
    right, predicted = counts.unbind(3)
    scores = score_counts(metric, right, predicted, class_pixels[index][:, None, None])
    return scores, weighted_means(scores, weights)


@BatchLoop
def _score(
    metric,  # `RatioMetric.coefficients`
    counts,  # (G, K, S, 2, C) int32
    class_pixels,  # (M, C) int64
    index,  # (G,) int64
    weights,  # (S,) float32
    scores,  # (G, K, S) float32; written
    means,  # (G, K) float32; written
):
    groups, group_size, scales, _, classes = counts.shape
    hits, by_predicted, by_labelled, overlap = metric[0], metric[1], metric[2], metric[3]
    pooled = metric[4] > 0
    for n in numba.prange(groups * group_size):
        g, k = n // group_size, n % group_size
        mean = np.float32(0)
        for s in range(scales):
            # float64, as in the reference: the sum over classes rounds away when it is narrowed
            right, predicted, labelled, total, counted = 0.0, 0.0, 0.0, 0.0, 0.0
            for c in range(classes):
                if not pooled:
                    right, predicted, labelled = 0.0, 0.0, 0.0
                right += counts[g, k, s, 0, c]
                predicted += counts[g, k, s, 1, c]
                labelled += class_pixels[index[g], c]
                if pooled and c < classes - 1:
                    continue
                whole = by_predicted * predicted + by_labelled * labelled + overlap * right
                if whole > 0.0:
                    total, counted = total + hits * right / whole, counted + 1.0
            scores[g, k, s] = total / max(counted, 1.0)
            mean += scores[g, k, s] * weights[s]
        means[g, k] = mean


def _empty_scores(
    metric, counts, class_pixels, index, weights, **_
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = torch.empty(counts.shape[:3], dtype=torch.float32, device=counts.device)
    return scores, torch.empty(counts.shape[:2], dtype=torch.float32, device=counts.device)


@traceable("metric_scores", _empty_scores)
def _score_tensors(
    metric: str,
    counts: torch.Tensor,
    class_pixels: torch.Tensor,
    index: torch.Tensor,
    weights: torch.Tensor,
    *,
    backend: str = "reference",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score by `reference` or `triton`."""
    if backend == "triton":
        from rss_env.kernels.triton.score_maps import metric_scores_triton

        return metric_scores_triton(metric, counts, class_pixels, index, weights)
    return metric_scores_reference(metric, counts, class_pixels, index, weights)


def metric_scores(
    metric: str,
    counts: Array,
    class_pixels: Array,
    index: Array,
    weights: Array,
    *,
    backend: str = "auto",
) -> tuple[Array, Array]:
    """Score K maps of each image on each of S scales, and average over the scales.

    Takes tensors and gives tensors, or takes arrays and gives arrays.

    Args:
        metric: A key of `rewards.METRICS`.
        counts: (G, K, S, 2, C) int32 from `action_counts`.
        class_pixels: (M, C) int64, labelled pixels of each class in each image.
        index: (G,) int64, the image each group of K maps belongs to.
        weights: (S,) float32, of sum 1.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        Scores (G, K, S), and their weighted means (G, K): float32 in [0, 1]; 0 for an image with
        no valid pixel.

    Raises:
        InputError: If the metric is unknown.
    """
    if metric not in METRICS:
        check_choice("metric", metric, METRICS)
    chosen = choose(backend, counts, COMPILED)
    if chosen != "numba":
        given = [as_tensor(part) for part in (counts, class_pixels, index, weights)]
        scores, means = _score_tensors(metric, *given, backend=chosen)
        return alike(counts, scores), alike(counts, means)
    scores = np.empty(counts.shape[:3], np.float32)
    means = np.empty(counts.shape[:2], np.float32)
    row, batch = METRICS[metric].coefficients, means.size
    if isinstance(counts, np.ndarray):  # as they are, likewise
        _score.on_arrays(batch, row, counts, class_pixels, index, weights, scores, means)
    else:
        _score(batch, row, counts, class_pixels, index, weights, scores, means)
    return alike(counts, scores), alike(counts, means)


def _empty_action_scores(
    metric, actions, tables, index, mirrored, columns, class_pixels, weights, **_
) -> tuple[torch.Tensor, torch.Tensor]:
    scores = weights.new_empty(*actions.shape[:2], len(tables))
    return scores, weights.new_empty(actions.shape[:2])


@traceable("action_scores", _empty_action_scores)
def _score_actions(
    metric: str,
    actions: torch.Tensor,
    tables: Sequence[torch.Tensor],
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: Sequence[int],
    class_pixels: torch.Tensor,
    weights: torch.Tensor,
    *,
    backend: str = "reference",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Count and score by `reference` or `triton`."""
    lookup = (actions, tables, index, mirrored, columns)
    if backend == "triton":
        from rss_env.kernels.triton.score_maps import action_scores_triton

        return action_scores_triton(metric, *lookup, class_pixels, weights)
    counts = action_counts(*lookup, class_pixels.shape[1], backend=backend)
    return metric_scores(metric, counts, class_pixels, index, weights, backend=backend)


def action_scores(
    metric: str,
    actions: Array,
    tables: Sequence[Array],
    index: Array,
    mirrored: Array,
    columns: Sequence[int],
    class_pixels: Array,
    weights: Array,
    *,
    backend: str = "auto",
) -> tuple[Array, Array]:
    """Score K flat actions of each image on each of S scales, and average over the scales.

    That is `metric_scores` of `action_counts`; on CUDA one kernel, where maps have few cells.

    Args:
        metric: A key of `rewards.METRICS`.
        actions: See `action_counts`, as the next four.
        tables: Of each scale.
        index: Images.
        mirrored: Which are flipped.
        columns: Of each scale.
        class_pixels: See `metric_scores`, as the next two.
        weights: Of the scales.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        Scores (G, K, S) and their weighted means (G, K), as those of `metric_scores`.

    Raises:
        InputError: If the metric is unknown.
    """
    if metric not in METRICS:
        check_choice("metric", metric, METRICS)
    if isinstance(actions, torch.Tensor) or backend not in ("auto", "numba"):
        chosen = choose(backend, actions, COMPILED)
        if chosen != "numba":
            images, flips, pixels, of_scales = (
                as_tensor(part) for part in (index, mirrored, class_pixels, weights)
            )
            parts = [as_tensor(table) for table in tables]
            given = (as_tensor(actions), parts, images, flips, columns, pixels, of_scales)
            scores, means = _score_actions(metric, *given, backend=chosen)
            return alike(actions, scores), alike(actions, means)
    counts = action_counts(
        actions, tables, index, mirrored, columns, class_pixels.shape[1], backend=backend
    )
    return metric_scores(metric, counts, class_pixels, index, weights, backend=backend)
