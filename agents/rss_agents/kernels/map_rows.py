"""Maps that lie in a table, of which each image has some rows: kernels need no copy of them.

Where a kernel takes `maps` and `rows`, the maps are (B, N, cells) and there are no rows, or they
are a table (R, cells) of which image b has the N rows (B, N) int64.
"""

from __future__ import annotations

import torch


def gather_maps(maps: torch.Tensor, rows: torch.Tensor | None) -> torch.Tensor:
    """Maps (B, N, cells), copied if they lie in a table."""
    return maps if rows is None else maps[rows]


def as_table(maps: torch.Tensor, rows: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """A table (R, cells), and its rows (B, N) int64."""
    if rows is None:
        return maps.flatten(0, 1), torch.arange(maps[..., 0].numel()).view(maps.shape[:2])
    return maps, rows


def batch_shape(maps: torch.Tensor, rows: torch.Tensor | None) -> torch.Size:
    """(B, N)."""
    return maps.shape[:2] if rows is None else rows.shape


def gather_cells(
    probabilities: torch.Tensor, maps: torch.Tensor, cells: torch.Tensor, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells (B, M) that stand for so many alike (B, M): of (B, C, cells) and of (B, N, cells)."""
    rates, own = (
        values.gather(2, cells[:, None].expand(-1, values.shape[1], -1))
        for values in (probabilities, maps)
    )
    return rates * counts[:, None], own
