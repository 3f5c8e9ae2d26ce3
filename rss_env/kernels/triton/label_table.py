"""Labels of each coarse cell of a grid: the CUDA backend of `label_table`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded


@triton.jit
def count_labels(
    labels,  # (M, H, W) uint8
    table,  # (M, cells, C + 1) integers; written
    pixels,  # H * W
    width,
    scale,
    cells,
    num_classes,
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count the labels inside a block of an image's cells."""
    m = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < cells
    columns = width // scale
    corner = labels + m * pixels + (p // columns) * scale * width + (p % columns) * scale
    entry = tl.arange(0, CLASSES)[None, :]
    counts = tl.zeros((BLOCK, CLASSES), tl.int32)
    for y in range(scale):
        for x in range(scale):
            label = tl.load(corner + (y * width + x), mask=inside, other=255).to(tl.int32)[:, None]
            # The last entry of a row counts what is valid.
            counts += tl.where(entry == num_classes, label < num_classes, label == entry).to(
                tl.int32
            )
    row = table + (m * cells + p) * (num_classes + 1)
    stored = inside[:, None] & (entry <= num_classes)
    tl.store(row[:, None] + entry, counts.to(table.dtype.element_ty), mask=stored)


def tile_of(num_classes: int) -> dict[str, int]:
    """The constants that C decides."""
    side = padded(num_classes + 1)
    return {"CLASSES": side, "BLOCK": block_beside(side)}


def label_table_triton(
    labels: torch.Tensor, num_classes: int, scale: int, dtype: torch.dtype
) -> torch.Tensor:
    """Build the table by comparing the cells' pixels with all classes; as `label_table`."""
    count, height, width = labels.shape
    cells = (height // scale) * (width // scale)
    table = labels.new_empty(count, cells, num_classes + 1, dtype=dtype)
    constants = tile_of(num_classes)
    launch(
        count_labels,
        (count, triton.cdiv(cells, constants["BLOCK"])),
        *(labels, table, height * width, width, scale, cells, num_classes),
        **constants,
    )
    return table
