"""The reward of every cell of K action maps: the share of its valid pixels that it gets right."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import torch

from rss_env.arrays import Array, alike, as_array
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable
from rss_env.kernels.label_table import each_scale, select_rows, walk_rows


def cell_rewards_reference(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    class_weights: torch.Tensor,
) -> torch.Tensor:
    """Reward by gathering each cell's own class."""
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
def _reward(
    actions,  # (G, K, Q) uint8
    offset,  # of this scale's cells
    table,  # (M, P) uint8, or (M, P, C + 1) integers: numba compiles the branch of each
    index,  # (G,) int64
    mirrored,  # (G,) bool
    columns,
    class_weights,  # (256,) float32, zeros from C on: unchecked actions earn nothing
    rewards,  # (G, K, Q) float32; written at this scale's cells
):
    group_size, cells = actions.shape[1], table.shape[1]
    last, nothing = np.uint64(table.shape[-1] - 1), np.float32(0)
    for n in numba.prange(actions.shape[0] * group_size):
        g, k = n // group_size, n % group_size
        width, first, step = walk_rows(mirrored[g], columns, cells)
        for start in range(0, cells, width):
            row = actions[g, k, offset + start : offset + start + width]
            earned = rewards[g, k, offset + start : offset + start + width]
            truth = table[index[g], start : start + width]
            for x in range(np.uint64(width)):
                choice, cell = row[x], first + step * x
                if table.ndim == 2:
                    earned[x] = class_weights[choice] if choice == truth[cell] else nothing
                else:
                    pixels = np.float32(truth[cell, min(np.uint64(choice), last)])
                    valid = np.float32(max(truth[cell, last], 1))
                    earned[x] = pixels / valid * class_weights[choice]


def action_rewards(
    actions: Array,
    tables: Sequence[Array],
    index: Array,
    mirrored: Array,
    columns: Sequence[int],
    class_weights: torch.Tensor,
    *,
    backend: str = "auto",
) -> Array:
    """Reward every cell of K flat actions of S scales.

    Takes tensors and gives a tensor, or takes arrays and gives an array.

    Args:
        actions: (G, K, Q) uint8, the maps of all scales in a row.
        tables: Of each scale, (M, P) or (M, P, C + 1) from `label_table`; the P sum up to Q.
        index: (G,) int64, the image each group of K actions belongs to.
        mirrored: (G,) bool, whether that image is flipped horizontally.
        columns: Of each scale, cells in a row of the grid.
        class_weights: (C,) float32 tensor, what a right pixel of each class is worth.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (G, K, Q) float32; see `cell_rewards`.
    """
    if choose(backend, actions, COMPILED) != "numba":
        rewards = each_scale(
            cell_rewards, actions, tables, index, mirrored, columns, class_weights, backend
        )
        return alike(actions, torch.cat(rewards, -1))
    rewards, offset = np.empty(actions.shape, np.float32), 0
    maps, images, flips = as_array(actions), as_array(index), as_array(mirrored)
    weights = np.zeros(256, np.float32)  # of all that a uint8 can say
    weights[: len(class_weights)] = class_weights.numpy()
    for table, width in zip(tables, columns, strict=True):
        cells = as_array(table)
        batch = actions.shape[0] * actions.shape[1]
        _reward.on_arrays(batch, maps, offset, cells, images, flips, width, weights, rewards)
        offset += table.shape[1]
    return alike(actions, rewards)


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
    backend: str = "auto",
) -> torch.Tensor:
    """Reward every cell of K maps (G, K, P) of one scale; see `action_rewards`.

    Returns:
        (G, K, P) float32: weight of the chosen class times the share of the cell's valid pixels
        that have it; 0 where every pixel is void.
    """
    chosen = choose(backend, maps, COMPILED)
    if chosen == "reference":
        return cell_rewards_reference(maps, table, index, mirrored, columns, class_weights)
    if chosen == "triton":
        from rss_env.kernels.triton.cell_rewards import cell_rewards_triton

        return cell_rewards_triton(maps, table, index, mirrored, columns, class_weights)
    return action_rewards(maps, [table], index, mirrored, [columns], class_weights)
