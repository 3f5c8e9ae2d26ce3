"""Cells on the pixels that they cover: each class many times, in rows and from row to row."""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_env.arrays import as_array, as_tensor
from rss_env.compiled import compiled
from rss_env.kernels.dispatch import BatchLoop, choose


def paint_cells_reference(cells: torch.Tensor, columns: int, scale: int) -> torch.Tensor:
    """Paint by repeating columns, then rows, of which there are more to go through by then."""
    grid = cells.reshape(*cells.shape[:-1], -1, columns)
    return grid.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


@compiled(inline="always")
def _widen(cells, wide, times):
    """Write each cell so many times in a row; unsigned, as no index is below 0."""
    for x in range(np.uint64(cells.size)):
        for i in range(times):
            wide[x * times + i] = cells[x]


@BatchLoop
def _paint(
    cells,  # (B, P) uint8
    columns,
    scale,
    maps,  # (B, P * scale * scale) uint8; written
):
    width = columns * scale
    for b in numba.prange(cells.shape[0]):
        own, painted = cells[b], maps[b]
        wide = np.empty(own.size * scale, np.uint8)  # all rows at once: each is short
        if scale == 2:  # spelt out, the compiler makes shuffled vectors of it
            _widen(own, wide, np.uint64(2))
        elif scale == 4:
            _widen(own, wide, np.uint64(4))
        elif scale == 8:
            _widen(own, wide, np.uint64(8))
        else:
            _widen(own, wide, np.uint64(scale))
        for y in range(own.size // columns):
            row = wide[y * width : (y + 1) * width]
            for i in range(y * scale, (y + 1) * scale):
                line = painted[i * width : (i + 1) * width]
                for x in range(np.uint64(width)):
                    line[x] = row[x]


def paint_cells(
    cells: torch.Tensor, columns: int, scale: int, *, backend: str = "auto"
) -> torch.Tensor:
    """Paint the cells of grids onto pixels.

    Args:
        cells: (..., P) of any type, row by row.
        columns: Cells in a row.
        scale: Side of a cell in pixels.
        backend: `auto`, `reference` or `numba`, which takes uint8.

    Returns:
        (..., H, W) of the same type, in memory of its own.
    """
    rows = cells.shape[-1] // columns
    shape = (*cells.shape[:-1], rows * scale, columns * scale)
    if backend == "auto" and cells.dtype != torch.uint8:
        backend = "reference"
    if choose(backend, cells) == "reference":
        return paint_cells_reference(cells, columns, scale)
    maps = np.empty(shape, np.uint8)
    if scale == 1:
        np.copyto(maps, as_array(cells).reshape(shape))
        return as_tensor(maps)
    grids = as_array(cells).reshape(-1, rows * columns)
    flat = maps.reshape(len(grids), grids.shape[1] * scale**2)
    _paint.on_arrays(len(grids), grids, columns, scale, flat)
    return as_tensor(maps)
