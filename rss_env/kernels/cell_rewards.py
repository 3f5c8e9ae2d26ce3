"""The reward of every cell of K action maps: the share of its valid pixels that it gets right."""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_env.kernels.dispatch import FACES, BatchLoop, choose, traceable
from rss_env.kernels.label_table import select_rows


def cell_rewards_reference(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    class_weights: torch.Tensor,
) -> torch.Tensor:
    """The rewards by gathering each cell's own class."""
    rows = select_rows(table, index, mirrored, columns)[:, None]
    choice = maps.long()
    if table.ndim == 2:
        share = (rows == maps).float()
    else:
        rows = rows.expand(-1, maps.shape[1], -1, -1)
        right = rows.gather(3, choice[..., None])[..., 0]
        share = right.float() / rows[..., -1].clamp(min=1).float()
    return share * class_weights[choice]


@BatchLoop
def _reward_pixels(
    maps,  # (G, K, P) uint8
    labels,  # (M, P) uint8
    index,  # (G,) int64
    mirrored,  # (G,) bool
    columns,
    class_weights,  # (C,) float32
    rewards,  # (G, K, P) float32, zeros; written
):
    groups, members, cells = maps.shape
    for n in numba.prange(groups * members):
        g, k = n // members, n % members
        m = index[g]
        for start in range(0, cells, columns):
            for x in range(columns):
                choice = maps[g, k, start + x]
                label = labels[m, start + (columns - 1 - x if mirrored[g] else x)]
                if choice == label and choice < class_weights.size:
                    rewards[g, k, start + x] = class_weights[choice]


@BatchLoop
def _reward_cells(
    maps,  # (G, K, P) uint8
    table,  # (M, P, C + 1) int16 or int32
    index,  # (G,) int64
    mirrored,  # (G,) bool
    columns,
    class_weights,  # (C,) float32
    rewards,  # (G, K, P) float32, zeros; written
):
    groups, members, cells = maps.shape
    num_classes = class_weights.size
    for n in numba.prange(groups * members):
        g, k = n // members, n % members
        m = index[g]
        for start in range(0, cells, columns):
            for x in range(columns):
                choice = maps[g, k, start + x]
                cell = start + (columns - 1 - x if mirrored[g] else x)
                valid = table[m, cell, num_classes]
                if choice < num_classes and valid > 0:
                    share = np.float32(table[m, cell, choice]) / np.float32(valid)
                    rewards[g, k, start + x] = share * class_weights[choice]


def _empty_rewards(maps: torch.Tensor, *_, **__) -> torch.Tensor:
    return torch.empty(maps.shape, dtype=torch.float32, device=maps.device)


@traceable("cell_rewards", _empty_rewards)
def cell_rewards(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    class_weights: torch.Tensor,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Reward every cell of K maps of one scale.

    Args:
        maps: (G, K, P) uint8, the class of each cell.
        table: (M, P) or (M, P, C + 1) from `label_table`.
        index: (G,) int64, the image each group of K maps belongs to.
        mirrored: (G,) bool, whether that image is flipped horizontally.
        columns: Cells in a row of the grid; divides P.
        class_weights: (C,) float32, what a right pixel of each class is worth.
        implementation: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (G, K, P) float32: weight of the chosen class times the share of the cell's valid pixels
        that have it; 0 where every pixel is void.
    """
    face = choose(implementation, maps, FACES)
    if face == "reference":
        return cell_rewards_reference(maps, table, index, mirrored, columns, class_weights)
    if face == "triton":
        from rss_env.kernels.triton.cell_rewards import cell_rewards_triton

        return cell_rewards_triton(maps, table, index, mirrored, columns, class_weights)
    rewards = torch.zeros(maps.shape, dtype=torch.float32)
    loop = _reward_pixels if table.ndim == 2 else _reward_cells
    batch = maps.shape[0] * maps.shape[1]
    loop(batch, maps, table, index, mirrored, columns, class_weights, rewards)
    return rewards
