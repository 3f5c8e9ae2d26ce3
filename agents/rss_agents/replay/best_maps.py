"""Memory of the best map of each image so far, of its score, and of what scored no better."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rss_agents.kernels.memory_places import rank_among_equals
from rss_agents.replay.image_memory import ImageMemory
from rss_env.action_maps import ActionMapGeometry
from rss_env.labels import VOID


@dataclass(frozen=True)
class JudgedMaps:
    """Best maps of a batch of images, and what scores have said of their cells.

    Attributes:
        classes: (B, cells) uint8; VOID of images unknown.
        refused: (B, cells) uint8: the class that scored no higher in a cell's place, the last one;
            VOID where scores have said nothing.
        scores: (B,) float32; -inf of images unknown.
    """

    classes: torch.Tensor
    refused: torch.Tensor
    scores: torch.Tensor

    @property
    def known(self) -> torch.Tensor:
        """Which images have a map, (B,) bool."""
        return self.scores > -torch.inf


class BestMaps(ImageMemory):
    """The map of the highest score of each of the last images seen."""

    def __init__(
        self,
        geometry: ActionMapGeometry,
        num_images: int,
        *,
        device: torch.device | str = "cpu",
        max_bytes: int = 2**30,
    ):
        """Lay out the memory of images and a geometry, on a device, in at most so many bytes."""
        cells = geometry.num_cells
        super().__init__(geometry.image_size, num_images, 2 * cells + 4, device, max_bytes)
        self._maps = self._table(cells, dtype=torch.uint8)
        self._refused = self._table(cells, dtype=torch.uint8)
        self._scores = self._table(dtype=torch.float32)

    def add(
        self, keys: torch.Tensor, maps: torch.Tensor, scores: torch.Tensor, *, anew: bool = False
    ) -> torch.Tensor:
        """Remember the best of new and remembered maps, and return it, (B, cells) uint8.

        Of equal scores the first map is kept, and what is remembered before any new one.

        Args:
            keys: (B,) of `recognise`.
            maps: (B, K, cells) uint8, of the image as it is remembered; K may be 0.
            scores: (B, K) float32.
            anew: Whether the best new map takes the place of the remembered one whatever that
                scored.
        """
        if not maps.shape[1]:
            return self.recall(keys).classes
        places, known = self._find(keys)
        newest, best = scores.max(1)
        found = maps[torch.arange(len(maps), device=maps.device), best]
        keeps = known & (self._scores[places] >= newest) & (not anew)
        found = torch.where(keeps[:, None], self._maps[places], found)
        newest = torch.where(keeps, self._scores[places], newest)
        refused = torch.where(known[:, None], self._refused[places], VOID)
        places = self._once(keys, places)
        self._maps[places], self._scores[places] = found, newest
        self._refused[places] = refused
        return found

    def refuse(self, keys: torch.Tensor, classes: torch.Tensor) -> None:
        """Remember which classes (B, cells) uint8 of images that are known scored no higher."""
        places, known = self._look_up(keys)
        self._refused[self._once(keys, places.where(known, self.capacity))] = classes

    def recall(self, keys: torch.Tensor) -> JudgedMaps:
        """What is remembered of images, by their keys (B,)."""
        places, known = self._look_up(keys)
        classes, refused = (
            torch.where(known[:, None], table[places], VOID)
            for table in (self._maps, self._refused)
        )
        return JudgedMaps(classes, refused, self._scores[places].where(known, -torch.inf))

    def _once(self, keys: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The places (B,), with a spare one for an image that comes again later in the batch."""
        earlier, count = rank_among_equals(keys)
        return torch.where(earlier == count - 1, places, self.capacity)
