"""Proposals that give one region of a map another class, of which a score then speaks alone.

Where a network doubts, it doubts in regions: cells next to each other that have one class, and one
and the same class to take its place. A score of a map with one of them changed says which of the
two is right there. Maps that differ everywhere are better or worse by the sum of all they change,
and the best of them has hardly more cells right than the one that it takes the place of.
"""

from __future__ import annotations

import torch

from rss_env.labels import VOID

_LEAST_CELLS = 3  # of a region that is worth a score
_ROUNDS = 8  # of joining neighbours; a region that winds on and on may be split
_UNITS = 2**20  # of probabilities, whose sums are whole numbers: the same in any order


def connected_regions(kinds: torch.Tensor) -> torch.Tensor:
    """Number the regions of cells next to each other, not diagonally, that are of one kind.

    Args:
        kinds: (B, rows, columns) integers.

    Returns:
        (B, rows * columns) int64: the last cell of each cell's region.

    Source: hooking and pointer jumping (Shiloach and Vishkin, An O(log n) parallel connectivity
    algorithm, 1982).
    """
    batch, rows, columns = kinds.shape
    numbers = torch.arange(rows * columns, device=kinds.device).expand(batch, -1)
    same = [kinds.diff(dim=d) == 0 for d in (1, 2)]
    for _ in range(_ROUNDS):
        for d, alike in zip((1, 2), same, strict=True):
            grid = numbers.view(batch, rows, columns)
            size = grid.shape[d] - 1
            joined = torch.maximum(grid.narrow(d, 0, size), grid.narrow(d, 1, size)) * alike
            rest = torch.zeros_like(grid.narrow(d, 0, 1))
            before, after = torch.cat([joined, rest], d), torch.cat([rest, joined], d)
            highest = torch.maximum(grid, torch.maximum(before, after)).flatten(1)
            # The cell that numbers a region learns what its cells did, and they learn of it.
            numbers = highest.scatter_reduce(1, numbers, highest, "amax")
            numbers = numbers.gather(1, numbers)
    return numbers


def flip_regions(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    refused: torch.Tensor,
    num_maps: int,
    grid: tuple[int, int],
) -> torch.Tensor:
    """Maps that each give one region of an image's map its most likely other class.

    First come the regions of the highest mean probability of the other class times the root of the
    number of cells: likely ones, and large ones.

    Args:
        probabilities: (B, C, P) of the classes of cells.
        maps: (B, P) uint8, what is varied.
        refused: (B, P) uint8, classes that cells shall not have; VOID for none.
        num_maps: K, at most P.
        grid: Rows and columns of the P cells.

    Returns:
        (B, K, P) uint8; as `maps` where an image has fewer regions.
    """
    shut = torch.stack([maps, torch.where(refused == VOID, maps, refused)], 1).long()
    likely, other = probabilities.scatter(1, shut, -1.0).max(1)
    kinds = maps.long() * probabilities.shape[1] + other
    regions = connected_regions(kinds.unflatten(1, grid))
    units = (likely.clamp(min=0) * _UNITS).round().long()
    zeros = torch.zeros_like(regions)
    cells = zeros.scatter_add(1, regions, torch.ones_like(regions))
    worth = zeros.scatter_add(1, regions, units).double() / cells.clamp(min=1).double().sqrt()
    first = worth.where(cells >= _LEAST_CELLS, 0).topk(num_maps, 1).indices
    flipped = regions[:, None] == first[:, :, None]
    return torch.where(flipped, other[:, None].to(torch.uint8), maps[:, None])
