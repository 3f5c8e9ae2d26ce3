"""Memory of what rewards of cells say of each image."""

from __future__ import annotations

import torch

from rss_agents.kernels.memory_places import rank_among_equals
from rss_agents.replay.image_memory import ImageMemory
from rss_env.action_maps import ActionMapGeometry


class ShareMemory(ImageMemory):
    """Shares of classes in the cells of each image, as far as rewards of cells have told them."""

    def __init__(
        self,
        geometry: ActionMapGeometry,
        num_images: int,
        *,
        device: torch.device | str = "cpu",
        max_bytes: int = 2**30,
    ):
        """Lay out the memory of images and a geometry, on a device, in at most so many bytes."""
        classes, cells = geometry.num_classes, geometry.num_cells
        super().__init__(geometry.image_size, num_images, 2 * classes * cells, device, max_bytes)
        self._shares = self._table(classes, cells, dtype=torch.float16)

    def add(self, keys: torch.Tensor, maps: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Remember shares, and return all that is known.

        Args:
            keys: (B,) of `recognise`.
            maps: (B, K, cells) uint8, flat actions, of the image as it is remembered.
            shares: (B, K, cells) float32 in 0..1, the share of each cell that is of its class.

        Returns:
            (B, C, cells) float32: the shares, and -1 where they are not known.
        """
        places, remembered = self._find(keys)
        known = torch.where(remembered[:, None, None], self._shares[places], -1.0)
        known = known.scatter_(1, maps.long(), shares.to(known.dtype))
        earlier, count = rank_among_equals(keys)
        self._shares[torch.where(earlier == count - 1, places, self.capacity)] = known
        return known.float()
