"""Memory of the best map of each image so far, of its score, and of what it changed."""

from __future__ import annotations

import torch

from rss_agents.kernels.memory_places import rank_among_equals
from rss_agents.replay.image_memory import ImageMemory
from rss_env.action_maps import ActionMapGeometry
from rss_env.labels import VOID


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
        self._changed = self._table(cells, dtype=torch.bool)
        self._scores = self._table(dtype=torch.float32)

    def add(
        self,
        keys: torch.Tensor,
        maps: torch.Tensor,
        scores: torch.Tensor,
        *,
        answers: torch.Tensor | None = None,
        anew: bool = False,
    ) -> torch.Tensor:
        """Remember the best of new and remembered maps, and return it, (B, cells) uint8.

        Args:
            keys: (B,) of `recognise`.
            maps: (B, K, cells) uint8, of the image as it is remembered; K may be 0.
            scores: (B, K) float32.
            answers: (B, cells) uint8, what was answered when the maps were scored; None if that is
                not known, and what they change neither.
            anew: Whether the best new map takes the place of the remembered one whatever that
                scored.
        """
        if not maps.shape[1]:
            return self.recall(keys)[0]
        places, known = self._find(keys)
        newest, best = scores.max(1)
        found = maps[torch.arange(len(maps), device=maps.device), best]
        keeps = known & (self._scores[places] >= newest) & (not anew)
        changed = found != (found if answers is None else answers)
        changed = torch.where(keeps[:, None], self._changed[places], changed)
        found = torch.where(keeps[:, None], self._maps[places], found)
        newest = torch.where(keeps, self._scores[places], newest)
        earlier, count = rank_among_equals(keys)  # an image that comes twice is kept once
        places = torch.where(earlier == count - 1, places, self.capacity)
        self._maps[places], self._scores[places] = found, newest
        self._changed[places] = changed
        return found

    def recall(
        self, keys: torch.Tensor, *, changes: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best maps (B, cells) uint8, VOID of images unknown, and (B,) bool: those known.

        With `changes`, cells are VOID that the map did not change of what was answered then.
        """
        places, known = self._look_up(keys)
        told = known[:, None] & (self._changed[places] if changes else True)
        return torch.where(told, self._maps[places], VOID), known
