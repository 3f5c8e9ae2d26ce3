"""Memory of how the classes of scored maps lie: what they take up of each region of an image.

It is of one size for images of any, and far smaller than the maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rss_agents.replay.group_memory import GroupMemory


@dataclass(frozen=True)
class ScoredRegions:
    """Groups of scored maps of the images of a batch, as the images are remembered.

    Attributes:
        shares: (B, V, K, R * C) float16, what the classes take up of the regions of K maps, 0..1.
        scores: (B, V, K) float32.
        counted: (B, V, K) bool, which maps were drawn to learn from; the others are answers.
        valid: (B, V) bool, whether there is such a group.
    """

    shares: torch.Tensor
    scores: torch.Tensor
    counted: torch.Tensor
    valid: torch.Tensor


class RegionMemory(GroupMemory):
    """The last V groups of scored maps of each of the last images seen, region by region."""

    def __init__(
        self,
        image_size: tuple[int, int],
        num_images: int,
        group_size: int,
        groups: int,
        num_shares: int,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        max_bytes: int = 2**30,
    ):
        """Lay out the memory: `groups` (V) groups of `group_size` (K) maps, beside the newest one.

        A map has `num_shares`, of all classes and regions. A batch has at most `batch_size`
        images; all is bound by `max_bytes`.
        """
        size = group_size * (2 * num_shares + 5)
        super().__init__(image_size, num_images, groups, size, batch_size, device, max_bytes)
        self._shares = self._group_table(group_size, num_shares, dtype=torch.float16)
        self._scores = self._group_table(group_size, dtype=torch.float32)
        self._counted = self._group_table(group_size, dtype=torch.bool)

    def exchange(
        self, keys: torch.Tensor, shares: torch.Tensor, scores: torch.Tensor, counted: torch.Tensor
    ) -> ScoredRegions:
        """Remember a batch's new groups, and give them back together with the older ones.

        Args:
            keys: (B,) of `recognise`.
            shares: (B, K, R * C), of the image as it is remembered.
            scores: (B, K) float32.
            counted: (B, K) bool.

        Returns:
            The new groups, followed by the V that were remembered, if there are so many, from the
            newest to the oldest.
        """
        slots, valid = self._take_slots(keys)
        self._write(self._shares, slots, shares)
        self._write(self._scores, slots, scores)
        self._write(self._counted, slots, counted)
        return self._in_slots(slots, valid)

    def recall(self, keys: torch.Tensor) -> ScoredRegions:
        """Give back the last V + 1 groups of a batch of images (B,), and remember nothing new."""
        return self._in_slots(*self._find_slots(keys))

    def _in_slots(self, slots: torch.Tensor, valid: torch.Tensor) -> ScoredRegions:
        """The groups in slots (B, V) of the tables, as far as they are there (B, V)."""
        shares, scores, counted = (
            table.flatten(0, 1)[slots] for table in (self._shares, self._scores, self._counted)
        )
        return ScoredRegions(shares, scores, counted, valid)
