"""The reward of every cell of K action maps: the CUDA backend of `cell_rewards`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import ROW, launch


@triton.jit
def reward_cells(
    maps,  # (G, K, P) uint8
    table,  # (M, P) uint8, or (M, P, C + 1) integers
    index,  # (G,) int64
    mirrored,  # (G,) bool
    class_weights,  # (C,) float32
    rewards,  # (G, K, P) float32; written
    group_size,
    cells,
    columns,
    num_classes,
    PIXELS: tl.constexpr,  # whether the table holds labels
    BLOCK: tl.constexpr,
):
    """Reward a block of a map's cells."""
    n = tl.program_id(0).to(tl.int64)
    m, flip = tl.load(index + n // group_size), tl.load(mirrored + n // group_size)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < cells
    choice = tl.load(maps + n * cells + p, mask=inside, other=255).to(tl.int32)
    known = inside & (choice < num_classes)
    weight = tl.load(class_weights + choice, mask=known, other=0.0)
    cell = m * cells + tl.where(flip, p + (columns - 1 - 2 * (p % columns)), p)
    if PIXELS:
        label = tl.load(table + cell, mask=inside, other=255).to(tl.int32)
        reward = tl.where(label == choice, weight, 0.0)
    else:
        row = table + cell * (num_classes + 1)
        right = tl.load(row + choice, mask=known, other=0).to(tl.float32)
        valid = tl.load(row + num_classes, mask=known, other=1).to(tl.float32)
        # (a true division, rounded as on the CPU)
        reward = tl.div_rn(right, tl.maximum(valid, 1.0)) * weight
    tl.store(rewards + n * cells + p, reward, mask=inside)


def cell_rewards_triton(
    maps: torch.Tensor,
    table: torch.Tensor,
    index: torch.Tensor,
    mirrored: torch.Tensor,
    columns: int,
    class_weights: torch.Tensor,
) -> torch.Tensor:
    """Reward by looking up each cell's own class; as `cell_rewards`."""
    groups, group_size, cells = maps.shape
    rewards = torch.empty(maps.shape, dtype=torch.float32, device=maps.device)
    launch(
        reward_cells,
        (groups * group_size, triton.cdiv(cells, ROW)),
        *(maps, table, index, mirrored, class_weights, rewards),
        *(group_size, cells, columns, len(class_weights)),
        PIXELS=table.ndim == 2,
        BLOCK=ROW,
    )
    return rewards
