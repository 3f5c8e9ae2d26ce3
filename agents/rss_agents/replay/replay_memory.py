"""Memory of what was scored: a score bought once is learned from whenever its image comes back.

A score stays true of its image and map whatever the network has become, and neither regression asks
who drew the maps; the policy gradient asks how likely they were. So every image keeps its last maps
and their scores.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from rss_agents.replay.group_memory import GroupMemory
from rss_agents.replay.scored_maps import ScoredMaps
from rss_env.action_maps import ActionMapGeometry


class ReplayMemory(GroupMemory):
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
        size *= group_size
        shape = (geometry.image_size, num_images)
        super().__init__(*shape, groups, size, batch_size, device, max_bytes)
        table = partial(self._group_table, group_size)
        self._maps = table(cells, dtype=torch.uint8)
        self._scores = table(scales, dtype=torch.float32)
        self._predicted = table(scales, classes, dtype=torch.float32)
        # Until a group is there its maps are of class 0, and what is worked out of them is finite.
        self._predicted[..., 0] = torch.tensor(geometry.cells, dtype=torch.float32).to(device)
        self._likelihoods = None
        if with_likelihoods:
            self._likelihoods = table(cells, dtype=torch.float16)
        self._counted = table(dtype=torch.bool) if with_uncounted else None

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
        slots, there = self._take_slots(keys)
        for table, values in (
            (self._maps, new.maps),
            (self._scores, new.scores),
            (self._predicted, new.predicted),
            (self._likelihoods, new.likelihoods),
            (self._counted, new.counted),
        ):
            if table is not None and values is not None:
                self._write(table, slots, values)
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
        slots, valid = self._find_slots(keys)
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
