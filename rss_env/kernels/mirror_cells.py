"""Flat actions of images that are flipped horizontally."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import torch

from rss_env.arrays import layout
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


def mirror_cells_reference(
    flat: torch.Tensor, mirrored: torch.Tensor, columns: Sequence[int], offsets: Sequence[int]
) -> torch.Tensor:
    """Mirror by one gather: of each cell's opposite."""
    cells = torch.arange(flat.shape[-1], device=flat.device)
    parts = [
        cells[start:stop].view(-1, width).flip(1).flatten()
        for start, stop, width in zip(offsets[:-1], offsets[1:], columns, strict=True)
    ]
    place = torch.where(mirrored[:, None], torch.cat(parts), cells)
    return flat.gather(-1, place.view(len(flat), *[1] * (flat.ndim - 2), -1).expand_as(flat))


@BatchLoop
def _mirror(
    flat,  # (B, N, cells)
    mirrored,  # (B,) bool
    columns,  # (S,) int64
    offsets,  # (S + 1,) int64
    result,  # (B, N, cells); written
):
    images, members, _ = flat.shape
    for n in numba.prange(images * members):
        own, turned = flat[n // members, n % members], result[n // members, n % members]
        if not mirrored[n // members]:
            turned[:] = own
            continue
        for s in range(columns.size):
            width = columns[s]
            for start in range(offsets[s], offsets[s + 1], width):
                turned[start : start + width] = own[start : start + width][::-1]


def _empty_actions(flat, *_, **__) -> torch.Tensor:
    return torch.empty_like(flat, memory_format=torch.contiguous_format)


@traceable("mirror_cells", _empty_actions)
def mirror_cells(
    flat: torch.Tensor,
    mirrored: torch.Tensor,
    columns: Sequence[int],
    offsets: Sequence[int],
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Flip what lies on the grids of several scales, a row after another, where it is asked for.

    Args:
        flat: (B, ..., cells), flat actions or rewards of their cells.
        mirrored: (B,) bool, which of them to flip.
        columns: Of each scale, cells in a row of the grid.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        Of the same shape and type.
    """
    backend = choose(backend, flat, COMPILED)
    if backend == "reference":
        return mirror_cells_reference(flat, mirrored, columns, offsets)
    if backend == "triton":
        from rss_env.kernels.triton.mirror_cells import mirror_cells_triton

        return mirror_cells_triton(flat, mirrored, columns, offsets)
    result = _empty_actions(flat)
    shape = (len(flat), -1, flat.shape[-1])
    scales = (layout(columns), layout(offsets))
    _mirror(result.numel() // shape[2], flat.reshape(shape), mirrored, *scales, result.view(shape))
    return result
