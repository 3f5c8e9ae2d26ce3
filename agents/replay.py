"""Memory of scored maps: a score bought once is learned from whenever its image comes back.

A score stays true of its image and map whatever the network has become, and the regression of score
differences does not ask who drew the maps. So every image keeps its last maps and their scores.
Images are recognised by a hash of their pixels, the same for an image and its mirror image; under
other augmentation they are new each time, and the memory stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rss_env.action_maps import ActionMapGeometry


@dataclass(frozen=True)
class ScoredMaps:
    """Groups of maps of the images of a batch, with their scores.

    Attributes:
        maps: (B, V, K, cells) uint8, V groups of K flat actions per image.
        scores: (B, V, K, S) float32.
        deviations: (B, V, S) float32, what the scores of the group's own batch were measured in.
        valid: (B, V) bool, whether there is such a group.
    """

    maps: torch.Tensor
    scores: torch.Tensor
    deviations: torch.Tensor
    valid: torch.Tensor


class ReplayMemory:
    """The last V groups of scored maps of each of the last images seen."""

    def __init__(
        self, geometry: ActionMapGeometry, group_size: int, groups: int, max_bytes: int = 2**30
    ):
        """Lay out the memory; it is allocated as images come.

        Args:
            geometry: Of the maps.
            group_size: K.
            groups: V, groups kept per image.
            max_bytes: Bound on the memory; the images longest unseen give way.
        """
        self._geometry, self._group_size, self._groups = geometry, group_size, groups
        per_image = max(groups * group_size * geometry.num_cells, 1)
        self._max_images = max(1, max_bytes // per_image)
        self._entries: dict[int, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = {}
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

    def recall(self, keys: list[int], mirrored: torch.Tensor) -> ScoredMaps:
        """The remembered groups of a batch, in the batch's orientation; V is the most of any image.

        Args:
            keys: B integers from `recognise`.
            mirrored: (B,) bool from `recognise`.
        """
        geometry, device = self._geometry, mirrored.device
        found = [self._entries.get(key, []) for key in keys]
        most, scales = max(map(len, found)), len(geometry.scales)
        shape = (len(keys), most, self._group_size)
        maps = torch.zeros(*shape, geometry.num_cells, dtype=torch.uint8, device=device)
        scores = torch.zeros(*shape, scales, device=device)
        deviations = torch.ones(len(keys), most, scales, device=device)
        valid = torch.zeros(len(keys), most, dtype=torch.bool, device=device)
        for b, groups in enumerate(found):
            for v, (old_maps, old_scores, old_deviations) in enumerate(groups):
                maps[b, v], scores[b, v], deviations[b, v] = old_maps, old_scores, old_deviations
                valid[b, v] = True
        return ScoredMaps(geometry.mirror(maps, mirrored), scores, deviations, valid)

    def remember(
        self,
        keys: list[int],
        mirrored: torch.Tensor,
        maps: torch.Tensor,
        scores: torch.Tensor,
        deviations: torch.Tensor,
    ) -> None:
        """Keep a batch's new groups; each image forgets its oldest beyond V.

        Args:
            keys: B integers from `recognise`.
            mirrored: (B,) bool from `recognise`.
            maps: (B, K, cells) uint8.
            scores: (B, K, S) float32.
            deviations: (S,) float32.
        """
        upright = self._geometry.mirror(maps, mirrored)
        for key, image_maps, image_scores in zip(keys, upright, scores, strict=True):
            groups = self._entries.pop(key, [])  # and back in at the end: the latest seen
            groups.append((image_maps.clone(), image_scores.clone(), deviations))
            self._entries[key] = groups[-self._groups :]
        while len(self._entries) > self._max_images:
            del self._entries[next(iter(self._entries))]
