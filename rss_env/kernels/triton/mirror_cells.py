"""Flat actions of images that are flipped horizontally: the CUDA backend of `mirror_cells`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import ROW, launch
from rss_env.kernels.triton.scales import scale_of, value_at


@triton.jit
def turn_rows(
    flat,  # (B, N, P)
    mirrored,  # (B,) bool
    result,  # (B, N, P); written
    members,  # N
    cells,
    COLUMNS: tl.constexpr,  # S: cells in a row of each grid
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    BLOCK: tl.constexpr,
):
    """Copy a block of a map's cells from where they are, or from their opposites."""
    n = tl.program_id(0).to(tl.int64)
    flip = tl.load(mirrored + n // members)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside, scale = p < cells, scale_of(p, OFFSETS)
    columns = value_at(scale, COLUMNS)
    column = (p - value_at(scale, OFFSETS)) % columns
    source = tl.where(flip, p + (columns - 1 - 2 * column), p)
    value = tl.load(flat + n * cells + source, mask=inside, other=0)
    tl.store(result + n * cells + p, value, mask=inside)


def mirror_cells_triton(
    flat: torch.Tensor, mirrored: torch.Tensor, columns: Sequence[int], offsets: Sequence[int]
) -> torch.Tensor:
    """Copy cell by cell; as `mirror_cells`."""
    result = torch.empty_like(flat, memory_format=torch.contiguous_format)
    batch, cells = len(flat), flat.shape[-1]
    rows = flat.numel() // cells
    launch(
        turn_rows,
        (rows, triton.cdiv(cells, ROW)),
        *(flat, mirrored, result, rows // batch, cells),
        COLUMNS=tuple(columns),
        OFFSETS=tuple(offsets),
        BLOCK=ROW,
    )
    return result
