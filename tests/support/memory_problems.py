"""Batches of images that memories of several sizes see one after the other."""

from __future__ import annotations

import torch

# places, slots of each, images of a batch, different images
MEMORIES = {
    "one of everything": (1, 1, 1, 1),
    "roomy": (9, 3, 4, 9),
    "images come twice": (5, 2, 6, 3),
    "more groups than slots": (2, 2, 7, 2),
    "one at a time in turn": (3, 4, 1, 7),
    "too small for a batch": (2, 3, 5, 5),
    "wide": (1500, 2, 3, 1500),
}


def new_tables(
    capacity: int, batch: int
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Keys, ages and the clock of a memory that has seen nothing; and the counts of its groups."""
    keys, last_seen, count = torch.zeros(3, capacity + batch, dtype=torch.int64)
    return (keys, last_seen, torch.zeros((), dtype=torch.int64)), count


def batches_of(name: str, number: int = 12) -> list[torch.Tensor]:
    """So many batches of keys, some of them negative, for one of the memories."""
    _, _, batch, images = MEMORIES[name]
    generator = torch.Generator().manual_seed(3)
    keys = torch.randint(-(2**62), 2**62, (images,), generator=generator)
    if batch == 1:  # each has an age of its own
        return [keys[[step * 5 % images]] for step in range(number)]
    if batch >= images:
        return [keys[torch.randint(images, (batch,), generator=generator)] for _ in range(number)]
    return [keys[torch.randperm(images, generator=generator)[:batch]] for _ in range(number)]
