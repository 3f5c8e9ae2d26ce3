"""Memory of what was scored: a score bought once is learned from whenever its image comes back.

A score stays true of its image and map whatever the network has become, and neither regression asks
who drew the maps; the policy gradient asks how likely they were. So every image keeps its last maps
and their scores, or what its cells' rewards have told. Images are recognised by a hash of their
pixels, the same for an image and its mirror image; under other augmentation they are new each time,
and the memory stays empty. Everything lies on the device in tensors of fixed shapes, and nothing is
asked of the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from rss_env.action_maps import ActionMapGeometry
from rss_env.errors import InputError
from rss_env.kernels.hash_images import hash_images
from rss_env.kernels.map_counts import map_counts


@dataclass(frozen=True)
class ImageKeys:
    """Images of a batch, as a memory knows them.

    Attributes:
        keys: (B,) int64, the same for an image and its mirror image.
        mirrored: (B,) bool, which of the two each is: whether it has to be flipped horizontally to
            stand as it is remembered.
    """

    keys: torch.Tensor
    mirrored: torch.Tensor


class ImageMemory:
    """Which place of a memory belongs to which image: the images longest unseen give way.

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
        """Begin with no image.

        Args:
            image_size: (H, W).
            num_images: How many there are to remember.
            bytes_per_image: Size of what is remembered of one.
            device: Where everything lies.
            max_bytes: Bound on all of it, but for the spare places.
            spare: Places of what is forgotten.
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
        """How many images are remembered."""
        return int((self._last_seen[: self.capacity] > 0).sum())

    def _table(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        """Zeros for every image, and for those that are forgotten."""
        device = self._hash_weights.device
        table = torch.zeros(self.capacity + self._spare, *shape, dtype=dtype, device=device)
        self._tables.append(table)
        return table

    def get_state(self) -> dict[str, Any]:
        """What is remembered: the rows in use of all tables, and those that are forgotten."""
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
        return ImageKeys(torch.where(mirrored, flipped, plain), mirrored)

    def _find(self, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The places of a batch's images, given to new ones where there were none.

        Args:
            keys: (B,) int64; an image may come more than once.

        Returns:
            Places (B,) int64, and (B,) bool, whether the image was remembered there before.
        """
        self._clock += 1
        nowhere, last_seen = self.capacity, self._last_seen[: self.capacity]
        matches = (keys[:, None] == self._keys[:nowhere]) & (last_seen > 0)
        known, places = matches.any(1), matches.byte().argmax(1)
        self._last_seen[torch.where(known, places, nowhere)] = self._clock
        spare = min(len(keys), self.capacity)
        longest_unseen = last_seen.topk(spare, largest=False).indices
        first = (keys[:, None] == keys).byte().argmax(1)  # where the image first comes
        is_new = ~known & (first == torch.arange(len(keys), device=keys.device))
        order = is_new.cumsum(0) - 1
        given = longest_unseen[order.clamp(0, spare - 1)]
        fits = (order < spare) & (
            last_seen[given] < self._clock
        )  # not that of another in the batch
        places = torch.where(known, places, torch.where(fits, given, nowhere)[first])
        self._keys[places] = keys
        self._last_seen[places] = self._clock
        return places, known


def _rank_among_equals(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many equal keys come before each of (B,), and how many equal ones there are in all."""
    equal = keys[:, None] == keys
    return equal.tril(-1).sum(1), equal.sum(1)


@dataclass(frozen=True)
class ScoredMaps:
    """Groups of maps of the images of a batch, with their scores, as the images are remembered.

    Attributes:
        maps: (R, cells) uint8, a table of flat actions.
        rows: (B, V, K) int64, which of them are the V groups of K maps of each image.
        scores: (B, V, K, S) float32; 0 where there is no such group.
        predicted: (B, V, K, S, C) float32, cells of each class in the maps.
        valid: (B, V) bool, whether there is such a group.
        likelihoods: (B, V, K, cells) probabilities that the maps' cells were drawn with, if asked.
    """

    maps: torch.Tensor
    rows: torch.Tensor
    scores: torch.Tensor
    predicted: torch.Tensor
    valid: torch.Tensor
    likelihoods: torch.Tensor | None = None

    @classmethod
    def new(
        cls,
        maps: torch.Tensor,
        scores: torch.Tensor,
        geometry: ActionMapGeometry,
        likelihoods: torch.Tensor | None = None,
    ) -> ScoredMaps:
        """One group of maps (B, K, cells) for each image, with scores (B, K, S)."""
        rows = torch.arange(scores[..., 0].numel(), device=maps.device)
        return cls(
            maps.flatten(0, 1),
            rows.view(len(maps), 1, -1),
            scores[:, None],
            map_counts(maps, geometry.offsets, geometry.num_classes)[:, None],
            torch.ones(len(maps), 1, dtype=torch.bool, device=maps.device),
            None if likelihoods is None else likelihoods[:, None],
        )

    @property
    def own_maps(self) -> torch.Tensor:
        """(B, V, K, cells) uint8, a copy."""
        return self.maps[self.rows]


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
        device: torch.device | str = "cpu",
        max_bytes: int = 2**30,
    ):
        """Lay out the memory.

        Args:
            geometry: Of the maps.
            num_images: How many images there are to remember.
            group_size: K.
            groups: V, groups kept per image, beside the newest one.
            batch_size: Most images of a batch, B.
            with_likelihoods: Whether maps come with the probabilities they were drawn with; kept
                as float16.
            device: Where it lies.
            max_bytes: Bound on the memory.
        """
        cells, scales, classes = geometry.num_cells, len(geometry.scales), geometry.num_classes
        size = cells * (3 if with_likelihoods else 1) + 4 * scales * (1 + classes)
        size *= (groups + 1) * group_size
        super().__init__(geometry.image_size, num_images, size, device, max_bytes, batch_size)
        self.groups = groups
        # With a place for the newest group, maps need not be copied to be learned from with it.
        shape, real = (groups + 1, group_size), torch.float32
        self._told = self._table(dtype=torch.int64)  # groups so far
        self._maps = self._table(*shape, cells, dtype=torch.uint8)
        self._scores = self._table(*shape, scales, dtype=real)
        self._predicted = self._table(*shape, scales, classes, dtype=real)
        # Until a group is there its maps are of class 0, and what is worked out of them is finite.
        self._predicted[..., 0] = torch.tensor(geometry.cells, dtype=real).to(device)
        self._likelihoods = None
        if with_likelihoods:
            self._likelihoods = self._table(*shape, cells, dtype=torch.float16)

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
        before = self._told[places] * known
        earlier, count = _rank_among_equals(keys)
        # Each image of the batch has a spare place; there goes what is forgotten at once.
        spare = self.capacity + torch.arange(len(keys), device=keys.device)
        places = torch.where(places == self.capacity, spare, places)
        ring = self.groups + 1
        kept = earlier >= count - ring  # of one image's groups only the last have a place
        target, group = torch.where(kept, places, spare), (before + earlier) % ring
        self._told[target] = before + count
        place = target * ring + group
        for table, told in (
            (self._maps, new.maps),
            (self._scores, new.scores),
            (self._predicted, new.predicted),
            (self._likelihoods, new.likelihoods),
        ):
            if table is not None and told is not None:
                rows = table.flatten(0, 1)
                rows.index_copy_(0, place, told.view(len(keys), *rows.shape[1:]).to(rows.dtype))
        age = torch.arange(1, ring, device=keys.device)
        # (Groups of the same image in this batch have taken the places of the oldest.)
        there = (age <= before[:, None]) & (age <= ring - count[:, None])
        older = places[:, None] * ring + (before[:, None] - age) % ring
        slots = torch.cat([place[:, None], older], 1)
        valid = torch.cat([new.valid, there], 1)
        likelihoods = None
        if new.likelihoods is not None and self._likelihoods is not None:
            remembered = self._likelihoods.flatten(0, 1)[older].to(new.likelihoods.dtype)
            likelihoods = torch.cat([new.likelihoods, remembered], 1)
        members = torch.arange(new.rows.shape[2], device=keys.device)
        return ScoredMaps(
            self._maps.flatten(0, 2),
            slots[..., None] * len(members) + members,
            self._scores.flatten(0, 1)[slots] * valid[..., None, None],
            self._predicted.flatten(0, 1)[slots],
            valid,
            likelihoods,
        )


class ShareMemory(ImageMemory):
    """What rewards of cells have told of each image: shares of classes in its cells."""

    def __init__(
        self,
        geometry: ActionMapGeometry,
        num_images: int,
        *,
        device: torch.device | str = "cpu",
        max_bytes: int = 2**30,
    ):
        """Lay out the memory of images and a geometry, on a device, in at most so many bytes."""
        shape = (geometry.num_classes, geometry.num_cells)
        size = 2 * shape[0] * shape[1]
        super().__init__(geometry.image_size, num_images, size, device, max_bytes)
        self._shares = self._table(*shape, dtype=torch.float16)

    def add(self, keys: torch.Tensor, maps: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        """Remember what is told, and say all that is known.

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
        earlier, count = _rank_among_equals(keys)
        self._shares[torch.where(earlier == count - 1, places, self.capacity)] = known
        return known.float()
