"""Images that are recognised, and their places in a memory.

Images are recognised by a hash of their pixels, the same for an image and its mirror image; under
other augmentation they are new each time. Everything lies on the device in tensors of fixed shapes,
and nothing is asked of the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rss_agents.kernels.memory_places import look_up, take_places
from rss_env.errors import InputError
from rss_env.kernels.hash_images import hash_images


@dataclass(frozen=True)
class ImageKeys:
    """Images of a batch, as a memory knows them.

    Attributes:
        keys: (B,) int64, the same for an image and its mirror image.
        mirrored: (B,) bool, which of the two each is: whether it has to be flipped horizontally to
            stand as it is remembered.
        images: (B, H, W, 3) uint8, as they are shown.
    """

    keys: torch.Tensor
    mirrored: torch.Tensor
    images: torch.Tensor


class ImageMemory:
    """Places of a memory, each of one image: the images longest unseen give way.

    Every table has more places than there are images: what goes to the spare ones is forgotten.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        num_images: int,
        bytes_per_image: int,
        device: torch.device | str,
        max_bytes: int,
        spare: int = 1,
    ):
        """Begin with no image of size (H, W).

        What is remembered of `num_images` images is bound by `max_bytes`, but for `spare` places
        of what is forgotten.
        """
        self.capacity = max(1, min(num_images, max_bytes // bytes_per_image))
        self._spare = spare
        height, width = image_size
        generator = torch.Generator().manual_seed(0)
        weights = torch.randint(-(2**62), 2**62, (height * width * 3,), generator=generator)
        mirrored = weights.view(height, width, 3).flip(1).flatten()
        self._hash_weights = torch.stack([weights, mirrored]).to(device)
        self._tables: list[torch.Tensor] = []
        self._keys = self._table(dtype=torch.int64)
        self._last_seen = self._table(dtype=torch.int64)  # the number of the batch; 0 for never
        self._clock = torch.zeros((), dtype=torch.int64, device=device)

    def __len__(self) -> int:
        """Number of images that are remembered."""
        return int((self._last_seen[: self.capacity] > 0).sum())

    def _table(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Zeros for every image, and for those that are forgotten."""
        device = self._hash_weights.device
        table = torch.zeros(self.capacity + self._spare, *shape, dtype=dtype, device=device)
        self._tables.append(table)
        return table

    def get_state(self) -> dict[str, Any]:
        """Return what is remembered: rows in use of all tables, and those that are forgotten."""
        used = self._last_seen > 0
        used[self.capacity :] = True
        places = used.nonzero()[:, 0]
        rows = [table[places] for table in self._tables]
        return {"clock": self._clock, "places": places, "rows": rows}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Remember exactly what was remembered at `get_state`.

        Raises:
            InputError: If it is of a memory of another layout.
        """
        rows, places = state["rows"], state["places"].to(self._clock.device)
        shapes = [row.shape[1:] for row in rows]
        if shapes != [table.shape[1:] for table in self._tables] or (
            int(places.max()) + 1 != self.capacity + self._spare
        ):
            raise InputError("the training state has a memory of another layout")
        self._clock.copy_(state["clock"])
        self._last_seen.zero_()
        for table, row in zip(self._tables, rows, strict=True):
            table[places] = row.to(table.device)

    def recognise(self, images: torch.Tensor) -> ImageKeys:
        """The keys of images (B, H, W, 3) uint8."""
        plain, flipped = hash_images(images, self._hash_weights).unbind(1)
        mirrored = flipped < plain
        return ImageKeys(torch.where(mirrored, flipped, plain), mirrored, images)

    def _look_up(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `look_up`."""
        return look_up(keys, self._keys, self._last_seen, self.capacity)

    def _find(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `take_places`."""
        return take_places(keys, self._keys, self._last_seen, self._clock, self.capacity)
