"""Labels of each cell of a grid: the table that scores are looked up in.

A coarse cell covers many pixels, so its row holds how many of them have each class, and last how
many are valid (not void). A cell of one pixel is its label. With the table, scoring a map costs
one lookup per cell; nothing is upsampled and no confusion matrix is built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import torch

from rss_env.arrays import Array, as_tensor
from rss_env.compiled import compiled
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable
from rss_env.labels import VOID

_COUNT_DTYPES = (torch.uint8, torch.int16, torch.int32)


def count_dtype(scale: int) -> torch.dtype:
    """Choose the smallest type that counts a cell's pixels: a table is read at random."""
    return next(d for d in _COUNT_DTYPES if scale * scale <= torch.iinfo(d).max)


def label_table_reference(labels: torch.Tensor, num_classes: int, scale: int) -> torch.Tensor:
    """Build the table of coarse cells by pooling one class at a time."""
    count, height, width = labels.shape
    blocks = labels.view(count, height // scale, scale, width // scale, scale)
    counts = [(blocks == c).sum((2, 4)) for c in range(num_classes)]
    counts.append((blocks != VOID).sum((2, 4)))
    return torch.stack(counts, -1).flatten(1, 2).to(count_dtype(scale))


@BatchLoop
def _count_labels(
    labels,  # (M, H, W) uint8
    scale,
    table,  # (M, cells, C + 1) integers, zeros; written
):
    count, height, width = labels.shape
    columns = width // scale
    last = table.shape[2] - 1
    for m in numba.prange(count):
        for y in range(height):
            line = labels[m, y]
            for column in range(columns):
                row, valid = table[m, (y // scale) * columns + column], 0
                for x in range(column * scale, (column + 1) * scale):
                    if line[x] < last:
                        row[line[x]] += 1
                        valid += 1
                row[last] += valid


def _empty_table(labels: torch.Tensor, num_classes: int, scale: int, **_) -> torch.Tensor:
    count, height, width = labels.shape
    cells = (height // scale) * (width // scale)
    return labels.new_empty(count, cells, num_classes + 1, dtype=count_dtype(scale))


@traceable("label_table", _empty_table)
def _table_of_coarse_cells(
    labels: torch.Tensor, num_classes: int, scale: int, *, backend: str = "auto"
) -> torch.Tensor:
    backend = choose(backend, labels, COMPILED)
    if backend == "reference":
        return label_table_reference(labels, num_classes, scale)
    if backend == "triton":
        from rss_env.kernels.triton.label_table import label_table_triton

        return label_table_triton(labels, num_classes, scale, count_dtype(scale))
    table = torch.zeros_like(_empty_table(labels, num_classes, scale))
    _count_labels(len(labels), labels, scale, table)
    return table


def label_table(
    labels: torch.Tensor, num_classes: int, scale: int, *, backend: str = "auto"
) -> torch.Tensor:
    """Count the labels inside every cell of one grid.

    Args:
        labels: (M, H, W) uint8, classes 0..C-1 or 255 for void; `scale` divides H and W.
        num_classes: C.
        scale: Cell size in pixels.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        For `scale` 1 the labels as (M, cells) uint8. Otherwise (M, cells, C + 1) uint8 (int16 for
        cells of more than 255 pixels, int32 from 32,768 on): pixels of each class, then valid
        pixels.
    """
    if scale == 1:
        return labels.flatten(1)
    return _table_of_coarse_cells(labels, num_classes, scale, backend=backend)


@compiled(inline="always")
def walk_rows(flip, columns, cells):
    """Lay out loops over a grid beside a table that may be flipped: (width, first, step).

    The grid's cell `start + x` is the table's cell `start + first + step * x` for all x below
    width and all multiples `start` of width. Unsigned, so that no index is taken for one that
    counts from the end; a step of 2**64 - 1 goes backwards.
    """
    if flip:
        return columns, np.uint64(columns - 1), np.uint64(0xFFFFFFFFFFFFFFFF)
    return cells, np.uint64(0), np.uint64(1)


def each_scale(
    kernel: Callable[..., torch.Tensor],
    actions: Array,
    tables: Sequence[Array],
    index: Array,
    mirrored: Array,
    columns: Sequence[int],
    last: Any,
    backend: str,
) -> list[torch.Tensor]:
    """Call a kernel of one scale, such as `class_counts`, on each scale of flat actions.

    Arguments are those of `action_counts`, with the kernel's own last one.
    """
    parts = as_tensor(actions).split([table.shape[1] for table in tables], -1)
    images, flips = as_tensor(index), as_tensor(mirrored)
    return [
        kernel(part, as_tensor(table), images, flips, width, last, backend=backend)
        for part, table, width in zip(parts, tables, columns, strict=True)
    ]


def select_rows(
    table: torch.Tensor, index: torch.Tensor, mirrored: torch.Tensor, columns: int
) -> torch.Tensor:
    """Select rows of the chosen images, cells of mirrored images right to left (plain torch).

    Args:
        table: (M, cells, ...) from `label_table`.
        index: (G,) int64, which images.
        mirrored: (G,) bool, which of them are flipped horizontally.
        columns: Cells in a row of the grid.

    Returns:
        (G, cells, ...) in the table's dtype.
    """
    rows = table[index]
    grid = rows.unflatten(1, (-1, columns))
    shape = (-1,) + (1,) * (grid.ndim - 1)
    return torch.where(mirrored.view(shape), grid.flip(2), grid).flatten(1, 2)
