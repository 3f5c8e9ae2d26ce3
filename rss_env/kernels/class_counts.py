"""True positives and predicted pixels of every class, for K action maps of each image.

With the labelled pixels, known per image beforehand, these counts give every score there is.
"""

from __future__ import annotations

import numba
import torch

from rss_env.kernels.dispatch import FACES, BatchLoop, choose, traceable
from rss_env.kernels.label_table import VOID, select_rows


def class_counts_reference(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    num_classes: int,
) -> torch.Tensor:
    """The counts by one-hot sums."""
    rows = select_rows(table, index, mirrored, columns)[:, None]  # (G, 1, P) or (G, 1, P, C + 1)
    chosen = torch.nn.functional.one_hot(maps.long(), num_classes)  # (G, K, P, C)
    if table.ndim == 2:
        right = (rows == maps).long()[..., None] * chosen
        valid = (rows != VOID).long()[..., None] * chosen
    else:
        right = rows[..., :-1].long() * chosen
        valid = rows[..., -1:].long() * chosen
    return torch.stack([right.sum(2), valid.sum(2)], 2).to(torch.int32)


@BatchLoop
def _count_pixels(
    maps,  # (G, K, P) uint8
    labels,  # (M, P) uint8
    index,  # (G,) int64
    mirrored,  # (G,) bool
    columns,
    counts,  # (G, K, 2, C) int32, zeros; written
):
    groups, members, cells = maps.shape
    num_classes = counts.shape[3]
    for n in numba.prange(groups * members):
        g, k = n // members, n % members
        m = index[g]
        for start in range(0, cells, columns):
            for x in range(columns):
                choice = maps[g, k, start + x]
                label = labels[m, start + (columns - 1 - x if mirrored[g] else x)]
                # An unchecked action may exceed C: it counts for nothing, and writes nowhere.
                if choice < num_classes and label != 255:
                    counts[g, k, 1, choice] += 1
                    if choice == label:
                        counts[g, k, 0, choice] += 1


@BatchLoop
def _count_cells(
    maps,  # (G, K, P) uint8
    table,  # (M, P, C + 1) int16 or int32
    index,  # (G,) int64
    mirrored,  # (G,) bool
    columns,
    counts,  # (G, K, 2, C) int32, zeros; written
):
    groups, members, cells = maps.shape
    num_classes = counts.shape[3]
    for n in numba.prange(groups * members):
        g, k = n // members, n % members
        m = index[g]
        for start in range(0, cells, columns):
            for x in range(columns):
                choice = maps[g, k, start + x]
                cell = start + (columns - 1 - x if mirrored[g] else x)
                if choice < num_classes:
                    counts[g, k, 0, choice] += table[m, cell, choice]
                    counts[g, k, 1, choice] += table[m, cell, num_classes]


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
    implementation: str = "auto",
) -> torch.Tensor:
    """Count what K maps of one scale get right, against a table of labels.

    Args:
        maps: (G, K, P) uint8, the class of each cell.
        table: (M, P) or (M, P, C + 1) from `label_table`.
        index: (G,) int64, the image each group of K maps belongs to.
        mirrored: (G,) bool, whether that image is flipped horizontally.
        columns: Cells in a row of the grid; divides P.
        num_classes: C.
        implementation: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (G, K, 2, C) int32, pixels: true positives, then predicted. Void pixels are left out.
    """
    face = choose(implementation, maps, FACES)
    if face == "reference":
        return class_counts_reference(maps, table, index, mirrored, columns, num_classes)
    if face == "triton":
        from rss_env.kernels.triton.class_counts import class_counts_triton

        return class_counts_triton(maps, table, index, mirrored, columns, num_classes)
    groups, members, _ = maps.shape
    counts = torch.zeros(groups, members, 2, num_classes, dtype=torch.int32)
    loop = _count_pixels if table.ndim == 2 else _count_cells
    loop(groups * members, maps, table, index, mirrored, columns, counts)
    return counts
