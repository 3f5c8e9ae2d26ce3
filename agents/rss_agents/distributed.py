"""Exchange among several training processes. With one process nothing is exchanged.

Every rank holds an equal part of the batch's images. Gradients are averaged over the ranks, so the
ranks' losses have to average to the loss of the whole batch: a sum over a rank's part is divided by
what the ranks count on average (`mean_over_ranks`), not by what the rank counts itself.
"""

from __future__ import annotations

import torch
import torch.distributed as dist


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all ranks: one all-reduce, or the tensor itself for one process."""
    if world_size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all ranks, floating point; for one process, its own values."""
    return sum_over_ranks(values) / world_size()


def max_over_ranks(number: int) -> int:
    """The largest of the ranks' numbers. The hosts wait for one another, their devices do not."""
    if world_size() == 1:
        return number
    values = torch.tensor(number)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return int(values)


def own_seed(seed: int, num_images: int) -> int:
    """Seed of this rank's first image, of `num_images`; image i of the whole batch has seed + i."""
    return seed + rank() * num_images


def own_rows(values: torch.Tensor) -> torch.Tensor:
    """This rank's rows of a tensor that all ranks have drawn alike for the whole batch."""
    return values.tensor_split(world_size())[rank()]
