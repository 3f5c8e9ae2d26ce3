"""True positives and predicted pixels of every class: the CUDA backend of `class_counts`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded

CHUNK = 4096  # cells of a program


@triton.jit
def count_classes(
    maps,  # (G, K, P) uint8
    table,  # (M, P) uint8, or (M, P, C + 1) integers
    index,  # (G,) int64
    mirrored,  # (G,) bool
    counts,  # (G, K, 2, C) int32, zeros; added to
    group_size,
    cells,
    columns,
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
        choice = tl.load(maps + n * cells + p, mask=inside, other=255).to(tl.int32)
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
    target = counts + n * 2 * num_classes + classes
    tl.atomic_add(target, tl.sum(right, 0), mask=classes < num_classes, sem="relaxed")
    tl.atomic_add(target + num_classes, tl.sum(valid, 0), mask=classes < num_classes, sem="relaxed")


def tile_of(num_classes: int) -> dict[str, int]:
    """The constants that C decides."""
    side = padded(num_classes)
    return {"CLASSES": side, "BLOCK": block_beside(side), "CHUNK": CHUNK}


def class_counts_triton(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    num_classes: int,
) -> torch.Tensor:
    """Count by comparing tiles of cells with all classes; as `class_counts`."""
    groups, group_size, cells = maps.shape
    counts = maps.new_zeros(groups, group_size, 2, num_classes, dtype=torch.int32)
    launch(
        count_classes,
        (groups * group_size, triton.cdiv(cells, CHUNK)),
        *(maps, table, index, mirrored, counts, group_size, cells, columns, num_classes),
        PIXELS=table.ndim == 2,
        **tile_of(num_classes),
    )
    return counts
