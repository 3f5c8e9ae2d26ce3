"""Memory of what was scored: a score bought once is learned from whenever its image comes back.

A score stays true of its image and map whatever the network has become, and neither regression asks
who drew the maps; the policy gradient asks how likely they were. So every image keeps its last maps
and their scores, or what its cells' rewards have told. Images are recognised by a hash of their
pixels, the same for an image and its mirror image; under other augmentation they are new each time,
and the memory stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from rss_env.action_maps import ActionMapGeometry

Entry = TypeVar("Entry")


class ImageMemory(Generic[Entry]):
    """Something about each of the last images seen."""

    def __init__(self, geometry: ActionMapGeometry, bytes_per_image: int, max_bytes: int = 2**30):
        """Lay out the memory; it is allocated as images come.

        Args:
            geometry: Of the images and their cells.
            bytes_per_image: Size of an entry.
            max_bytes: Bound on the memory; the images longest unseen give way.
        """
        self._geometry = geometry
        self._max_images = max(1, max_bytes // max(bytes_per_image, 1))
        self._entries: dict[int, Entry] = {}
        height, width = geometry.image_size
        generator = torch.Generator().manual_seed(0)
        self._hash_weights = torch.randint(
            -(2**62), 2**62, (height * width * 3,), generator=generator
        )

    def __len__(self) -> int:
        return len(self._entries)

    def recognise(self, images: torch.Tensor) -> tuple[list[int], torch.Tensor]:
        """Keys that an image shares with its mirror image, and which of the two it is.

        Args:
            images: (B, H, W, 3) uint8.

        Returns:
            B integers, and (B,) bool: whether maps must be mirrored to the remembered side.
        """
        if self._hash_weights.device != images.device:
            self._hash_weights = self._hash_weights.to(images.device)
        sides = torch.stack([images, images.flip(2)]).flatten(2).long()
        plain, flipped = (sides * self._hash_weights).sum(2).unbind()  # wraps modulo 2**64
        mirrored = flipped < plain
        return torch.where(mirrored, flipped, plain).tolist(), mirrored

    def _keep(self, key: int, entry: Entry) -> None:
        """Put an image's entry at the end, as the latest seen; the longest unseen may give way."""
        self._entries.pop(key, None)
        self._entries[key] = entry
        while len(self._entries) > self._max_images:
            del self._entries[next(iter(self._entries))]


@dataclass(frozen=True)
class ScoredMaps:
    """Groups of maps of the images of a batch, with their scores.

    Attributes:
        maps: (B, V, K, cells) uint8, V groups of K flat actions per image.
        scores: (B, V, K, S) float32; 0 where there is no such group.
        valid: (B, V) bool, whether there is such a group.
        likelihoods: (B, V, K, cells) probabilities that the maps' cells were drawn with, if asked.
    """

    maps: torch.Tensor
    scores: torch.Tensor
    valid: torch.Tensor
    likelihoods: torch.Tensor | None = None


class ReplayMemory(ImageMemory[list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]]):
    """The last V groups of scored maps of each of the last images seen."""

    def __init__(
        self,
        geometry: ActionMapGeometry,
        group_size: int,
        groups: int,
        *,
        with_likelihoods: bool = False,
        max_bytes: int = 2**30,
    ):
        """Lay out the memory.

        Args:
            geometry: Of the maps.
            group_size: K.
            groups: V, groups kept per image.
            with_likelihoods: Whether maps come with the probabilities they were drawn with.
            max_bytes: Bound on the memory of maps.
        """
        bytes_per_cell = 3 if with_likelihoods else 1
        size = groups * group_size * geometry.num_cells * bytes_per_cell
        super().__init__(geometry, size, max_bytes)
        self._groups = groups

    def exchange(
        self,
        images: torch.Tensor,
        maps: torch.Tensor,
        scores: torch.Tensor,
        likelihoods: torch.Tensor | None = None,
    ) -> ScoredMaps:
        """Remember a batch's new groups, and give them back together with the older ones.

        Each image forgets its oldest group beyond V.

        Args:
            images: (B, H, W, 3) uint8.
            maps: (B, K, cells) uint8, one new group for each image.
            scores: (B, K, S) float32.
            likelihoods: (B, K, cells), if the memory is to keep them; as float16.

        Returns:
            In the batch's orientation; the new groups come first, then the oldest.
        """
        keys, mirrored = self.recognise(images)
        older = [self._entries.get(key, []) for key in keys]
        most = 1 + max(map(len, older))
        all_maps = maps.new_zeros(len(keys), most, *maps.shape[1:])
        all_scores = scores.new_zeros(len(keys), most, *scores.shape[1:])
        valid = torch.zeros(len(keys), most, dtype=torch.bool, device=maps.device)
        upright, drawn_with, all_likelihoods = self._geometry.mirror(maps, mirrored), None, None
        if likelihoods is not None:
            drawn_with = self._geometry.mirror(likelihoods.half(), mirrored)
            all_likelihoods = drawn_with.new_ones(all_maps.shape)
        for b, key in enumerate(keys):
            chances = None if drawn_with is None else drawn_with[b].clone()
            new = (upright[b].clone(), scores[b].clone(), chances)
            for v, (own, told, chances) in enumerate([new, *older[b]]):
                all_maps[b, v], all_scores[b, v], valid[b, v] = own, told, True
                if all_likelihoods is not None and chances is not None:
                    all_likelihoods[b, v] = chances
            self._keep(key, [*self._entries.get(key, []), new][-self._groups :])
        if all_likelihoods is not None:
            all_likelihoods = self._geometry.mirror(all_likelihoods, mirrored)
        return ScoredMaps(
            self._geometry.mirror(all_maps, mirrored), all_scores, valid, all_likelihoods
        )


class ShareMemory(ImageMemory[torch.Tensor]):
    """What rewards of cells have told of each image: shares of classes in its cells."""

    def __init__(self, geometry: ActionMapGeometry, max_bytes: int = 2**30):
        """Lay out the memory of maps of a geometry, in at most so many bytes."""
        self._shape = (geometry.num_classes, geometry.num_cells)
        super().__init__(geometry, 2 * geometry.num_classes * geometry.num_cells, max_bytes)

    def add(self, images: torch.Tensor, maps: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Remember what is told, and say all that is known.

        Args:
            images: (B, H, W, 3) uint8.
            maps: (B, K, cells) uint8, flat actions.
            shares: (B, K, cells) float32 in 0..1, the share of each cell that is of its class.

        Returns:
            (B, C, cells) float32: the shares, and -1 where they are not known.
        """
        keys, mirrored = self.recognise(images)
        unknown = shares.new_full(self._shape, -1.0, dtype=torch.float16)
        known = torch.stack([self._entries.get(key, unknown) for key in keys])
        upright = self._geometry.mirror(maps, mirrored)
        told = self._geometry.mirror(shares, mirrored)
        known.scatter_(1, upright.long(), told.to(known.dtype))
        for key, entry in zip(keys, known, strict=True):
            self._keep(key, entry.clone())
        return self._geometry.mirror(known.float(), mirrored)
