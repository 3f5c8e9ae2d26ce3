"""Memory of one map of each image, the best so far, and of its score."""

from __future__ import annotations

import torch

from rss_agents.kernels.memory_places import rank_among_equals
from rss_agents.replay.image_memory import ImageMemory
from rss_env.action_maps import ActionMapGeometry
from rss_env.labels import VOID


class BestMaps(ImageMemory):
    """A map and its score of each of the last images seen."""

    def __init__(
        self,
        geometry: ActionMapGeometry,
        num_images: int,
        *,
        device: torch.device | str = "cpu",
        max_bytes: int = 2**30,
    ):
        """Lay out the memory of images and a geometry, on a device, in at most so many bytes."""
        super().__init__(geometry.image_size, num_images, geometry.num_cells + 4, device, max_bytes)
        self._maps = self._table(geometry.num_cells, dtype=torch.uint8)
        self._scores = self._table(dtype=torch.float32)

    def put(self, keys: torch.Tensor, maps: torch.Tensor, scores: torch.Tensor) -> None:
        """Remember a map (B, cells) uint8 and its score (B,) of each image, in place of others.

        Args:
            keys: (B,) of `recognise`.
            maps: Of the images as they are remembered.
            scores: float32.
        """
        places, _ = self._find(keys)
        earlier, count = rank_among_equals(keys)  # an image that comes twice is kept once
        places = torch.where(earlier == count - 1, places, self.capacity)
        self._maps[places], self._scores[places] = maps, scores

    def recall(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What is remembered: maps (B, cells) uint8, scores (B,), and (B,) bool, of which images.

        Maps of images unknown are VOID.
        """
        places, known = self._look_up(keys)
        maps = torch.where(known[:, None], self._maps[places], VOID)
        return maps, self._scores[places], known
