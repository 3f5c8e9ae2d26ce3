"""Places of groups of scored maps: each image keeps its last ones."""

from __future__ import annotations

import torch

from rss_agents.kernels.memory_places import take_slots
from rss_agents.replay.image_memory import ImageMemory


class GroupMemory(ImageMemory):
    """Places of the last V groups of each of the last images seen, and of the newest one."""

    def __init__(
        self,
        image_size: tuple[int, int],
        num_images: int,
        groups: int,
        bytes_per_group: int,
        batch_size: int,
        device: torch.device | str,
        max_bytes: int,
    ):
        """Begin with no group.

        Args:
            image_size: (H, W).
            num_images: How many images are remembered, if `max_bytes` allow it.
            groups: V. With a place for the newest group, groups need not be copied to be learned
                from with it.
            bytes_per_group: Of all tables together.
            batch_size: Most images of a batch.
            device: Of the tables.
            max_bytes: Of what is remembered.
        """
        size = bytes_per_group * (groups + 1)
        super().__init__(image_size, num_images, size, device, max_bytes, batch_size)
        self.groups = groups
        self._count = self._table(dtype=torch.int64)  # groups so far

    def _group_table(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Zeros for every group."""
        return self._table(self.groups + 1, *shape, dtype=dtype)

    def _take_slots(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Slots (B, 1 + V) int64 of a batch's newest groups, and of those before; bool: which are.

        Each image forgets its oldest group beyond V.
        """
        places, known = self._find(keys)
        return take_slots(keys, places, known, self._count, self.groups + 1, self.capacity)

    def _find_slots(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with nothing new: the last V + 1 groups, from the newest to the oldest."""
        places, known = self._look_up(keys)
        ring, count = self.groups + 1, self._count[places] * known
        age = torch.arange(1, ring + 1, device=keys.device)
        return places[:, None] * ring + (count[:, None] - age) % ring, age <= count[:, None]

    @staticmethod
    def _write(table: torch.Tensor, slots: torch.Tensor, values: torch.Tensor) -> None:
        """Write the values (B, ...) of the newest groups, whose slots come first."""
        rows = table.flatten(0, 1)
        rows.index_copy_(0, slots[:, 0], values.view(len(slots), *rows.shape[1:]).to(rows.dtype))
