"""Numbers of cells of each class at every scale: the CUDA backend of `map_counts`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from rss_agents.kernels.triton.expected_counts import tile_of
from rss_env.kernels.triton.launching import launch
from rss_env.kernels.triton.scales import range_of


@triton.jit
def count_cells(
    maps,  # (B * N, P) uint8
    counts,  # (B * N, S, C) float32; written
    cells,
    num_classes,
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    CLASSES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Count the cells of a map at one scale, class by class."""
    n, scale = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = range_of(scale, OFFSETS)
    classes = tl.arange(0, CLASSES)
    found = tl.zeros((BLOCK, CLASSES), tl.int32)
    for first in range(start, stop, BLOCK):
        p = first + tl.arange(0, BLOCK)
        choice = tl.load(maps + n * cells + p, mask=p < stop, other=0).to(tl.int32)
        found += ((choice[:, None] == classes[None, :]) & (p < stop)[:, None]).to(tl.int32)
    target = counts + (n * (len(OFFSETS) - 1) + scale) * num_classes + classes
    tl.store(target, tl.sum(found, 0).to(tl.float32), mask=classes < num_classes)


def map_counts_triton(maps: torch.Tensor, offsets: Sequence[int], num_classes: int) -> torch.Tensor:
    """Count by comparing tiles of cells with all classes; as `map_counts`."""
    batch, num_maps, cells = maps.shape
    num_scales = len(offsets) - 1
    counts = maps.new_empty(batch, num_maps, num_scales, num_classes, dtype=torch.float32)
    launch(
        count_cells,
        (batch * num_maps, num_scales),
        *(maps, counts, cells, num_classes),
        OFFSETS=tuple(offsets),
        **tile_of(num_classes),
    )
    return counts
