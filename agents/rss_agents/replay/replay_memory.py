"""Memory of what was scored: a score bought once is learned from whenever its image comes back.

A score stays true of its image and map whatever the network has become, and neither regression asks
who drew the maps; the policy gradient asks how likely they were. So every image keeps its last maps
and their scores.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from rss_agents.kernels.memory_places import take_slots
from rss_agents.replay.image_memory import ImageMemory
from rss_agents.replay.scored_maps import ScoredMaps
from rss_env.action_maps import ActionMapGeometry


class ReplayMemory(ImageMemory):
    """The last V groups of scored maps of each of the last images seen."""

    def __init__(
        self,
        geometry: ActionMapGeometry,
        num_images: int,
        group_size: int,
        groups: int,
        batch_size: int,
        *,
        with_likelihoods: bool = False,
        with_uncounted: bool = False,
        device: torch.device | str = "cpu",
        max_bytes: int = 2**30,
    ):
        """Lay out the memory: `groups` (V) groups of `group_size` (K) maps, beside the newest one.

        Likelihoods, the probabilities that maps were drawn with, are kept as float16. Which maps
        are not learned from is remembered if there are such, `with_uncounted`. A batch has
        at most `batch_size` images; all is bound by `max_bytes`.
        """
        cells, scales, classes = geometry.num_cells, len(geometry.scales), geometry.num_classes
        size = cells * (3 if with_likelihoods else 1) + 4 * scales * (1 + classes)
        size *= (groups + 1) * group_size
        super().__init__(geometry.image_size, num_images, size, device, max_bytes, batch_size)
        self.groups = groups
        # With a place for the newest group, maps need not be copied to be learned from with it.
        shape = (groups + 1, group_size)
        self._count = self._table(dtype=torch.int64)  # groups so far
        self._maps = self._table(*shape, cells, dtype=torch.uint8)
        self._scores = self._table(*shape, scales, dtype=torch.float32)
        self._predicted = self._table(*shape, scales, classes, dtype=torch.float32)
        # Until a group is there its maps are of class 0, and what is worked out of them is finite.
        self._predicted[..., 0] = torch.tensor(geometry.cells, dtype=torch.float32).to(device)
        self._likelihoods = None
        if with_likelihoods:
            self._likelihoods = self._table(*shape, cells, dtype=torch.float16)
        self._counted = self._table(*shape, dtype=torch.bool) if with_uncounted else None

    def exchange(self, keys: torch.Tensor, new: ScoredMaps) -> ScoredMaps:
        """Remember a batch's new groups, and give them back together with the older ones.

        Each image forgets its oldest group beyond V.

        Args:
            keys: (B,) of `recognise`.
            new: One group for each image, of the image as it is remembered.

        Returns:
            The new groups, followed by the V that were remembered, if there are so many, from the
            newest to the oldest. The maps are the memory's own, until its next exchange.
        """
        places, known = self._find(keys)
        ring = self.groups + 1
        slots, there = take_slots(keys, places, known, self._count, ring, self.capacity)
        for table, values in (
            (self._maps, new.maps),
            (self._scores, new.scores),
            (self._predicted, new.predicted),
            (self._likelihoods, new.likelihoods),
            (self._counted, new.counted),
        ):
            if table is not None and values is not None:
                rows = table.flatten(0, 1)
                rows.index_copy_(
                    0, slots[:, 0], values.view(len(keys), *rows.shape[1:]).to(rows.dtype)
                )
        likelihoods = None
        if new.likelihoods is not None and self._likelihoods is not None:
            remembered = self._likelihoods.flatten(0, 1)[slots[:, 1:]].to(new.likelihoods.dtype)
            likelihoods = torch.cat([new.likelihoods, remembered], 1)
        return self._in_slots(slots, there, likelihoods)

    def recall(self, keys: torch.Tensor) -> ScoredMaps:
        """Give back what is remembered of a batch of images, and remember nothing new.

        Args:
            keys: (B,) of `recognise`.

        Returns:
            The last V + 1 groups of each image, if there are so many, from the newest to the
            oldest. The maps are the memory's own, until its next exchange.
        """
        places, known = self._look_up(keys)
        ring, count = self.groups + 1, self._count[places] * known
        age = torch.arange(1, ring + 1, device=keys.device)
        valid = age <= count[:, None]
        slots = places[:, None] * ring + (count[:, None] - age) % ring
        likelihoods = None
        if self._likelihoods is not None:
            likelihoods = self._likelihoods.flatten(0, 1)[slots].float()
        return replace(self._in_slots(slots, valid, likelihoods), is_new=False)

    def _in_slots(
        self, slots: torch.Tensor, valid: torch.Tensor, likelihoods: torch.Tensor | None
    ) -> ScoredMaps:
        """The groups in slots (B, V) of the tables, as far as they are there (B, V)."""
        map_index = torch.arange(self._maps.shape[2], device=slots.device)
        return ScoredMaps(
            self._maps.flatten(0, 2),
            slots[..., None] * len(map_index) + map_index,
            self._scores.flatten(0, 1)[slots] * valid[..., None, None],
            self._predicted.flatten(0, 1)[slots],
            valid,
            likelihoods,
            counted=None if self._counted is None else self._counted.flatten(0, 1)[slots],
        )
