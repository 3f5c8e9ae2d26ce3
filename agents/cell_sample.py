"""A few cells that stand for all: those whose labels are least certain, for sums over cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from agents.distributed import own_rows, world_size
from rss_env.kernels.systematic_sample import sample_offsets, systematic_sample


@dataclass(frozen=True)
class CellSample:
    """Cells of every scale of each image of a batch.

    Attributes:
        cells: (B, M) int64, numbers of flat cells, scale after scale.
        counts: (B, M) floating point, how many cells of its scale each stands for.
        offsets: Where each scale starts among the M, and M last; S + 1 in all.
    """

    cells: torch.Tensor
    counts: torch.Tensor
    offsets: tuple[int, ...]


def sample_cells(
    importance: torch.Tensor, offsets: Sequence[int], most: int, generator: torch.Generator
) -> CellSample:
    """Draw cells so that sums over those drawn are, on average, sums over all.

    Args:
        importance: (B, cells), not negative.
        offsets: Where each scale starts, and where the last ends; S + 1 in all.
        most: Cells drawn of a scale; smaller scales are taken whole.
        generator: Random state, on the same device and alike on all ranks.
    """
    shape = (len(importance) * world_size(), len(offsets) - 1)
    starts = own_rows(torch.rand(shape, generator=generator, device=importance.device))
    cells, counts = systematic_sample(importance, starts, offsets, most)
    return CellSample(cells, counts, sample_offsets(offsets, most))
