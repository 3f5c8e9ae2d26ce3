"""A few cells that stand for all: those whose labels are least certain, for sums over cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from agents.distributed import own_rows, world_size

# Share of the draws that goes to all cells alike, so that no cell stands for very many.
_ALIKE = 0.1


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

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """The sampled columns (B, N, M) of (B, N, cells)."""
        return values.gather(2, self.cells[:, None].expand(-1, values.shape[1], -1))


def sample_cells(
    importance: torch.Tensor, offsets: Sequence[int], most: int, generator: torch.Generator
) -> CellSample:
    """Draw cells so that sums over those drawn are, on average, sums over all.

    A scale of at most so many cells is taken whole. Of others cells are drawn in proportion to
    their importance, at equal steps from a random start, and each counts by the inverse of its
    chance.

    Args:
        importance: (B, cells), not negative.
        offsets: Where each scale starts, and the number of cells last; S + 1 in all.
        most: Cells drawn of a scale.
        generator: Random state, on the same device and alike on all ranks.

    Source: systematic sampling with unequal probabilities (Madow, 1949).
    """
    images, device = len(importance), importance.device
    cells, counts = [], []
    for start, stop in pairwise(offsets):
        size = stop - start
        if size <= most:
            cells.append(torch.arange(start, stop, device=device).expand(images, -1))
            counts.append(importance.new_ones(images, size))
            continue
        own = importance[:, start:stop]
        chance = (1 - _ALIKE) * own / own.sum(1, keepdim=True).clamp(min=1e-20) + _ALIKE / size
        places = chance.cumsum(1)
        shape = (images * world_size(), 1)
        first = own_rows(torch.rand(shape, generator=generator, device=device))
        steps = (torch.arange(most, device=device) + first) / most
        drawn = torch.searchsorted(places, steps * places[:, -1:]).clamp(max=size - 1)
        cells.append(drawn + start)
        counts.append(places[:, -1:] / (most * chance.gather(1, drawn)))
    starts = (0, *accumulate(part.shape[1] for part in cells))
    return CellSample(torch.cat(cells, 1), torch.cat(counts, 1), starts)
