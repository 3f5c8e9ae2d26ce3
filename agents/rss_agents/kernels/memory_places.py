"""Places of a memory: which images are there, where a new one goes, and where its groups are.

All of it is a few numbers for each image of a batch, and dozens of operations of PyTorch. Tensors
have fixed shapes, and nothing is asked of the host.
"""

from __future__ import annotations

import torch

from rss_env.kernels.dispatch import choose, traceable

MOST_IMAGES = 64  # of a batch, for Triton: pairs of them make a tile
_WRITTEN = ("known_keys", "last_seen", "clock")


def rank_among_equals(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of equal keys that come before each of (B,), and of equal keys in all."""
    equal = keys[:, None] == keys
    return equal.tril(-1).sum(1), equal.sum(1)


def look_up(
    keys: torch.Tensor, known_keys: torch.Tensor, last_seen: torch.Tensor, capacity: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The places (B,) int64 of keys (B,), any for those unknown, and (B,) bool: the known."""
    matches = (keys[:, None] == known_keys[:capacity]) & (last_seen[:capacity] > 0)
    return matches.byte().argmax(1), matches.any(1)


def take_places_reference(
    keys: torch.Tensor,
    known_keys: torch.Tensor,
    last_seen: torch.Tensor,
    clock: torch.Tensor,
    capacity: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take places for all images at once."""
    clock += 1
    places, known = look_up(keys, known_keys, last_seen, capacity)
    last_seen[torch.where(known, places, capacity)] = clock
    count = min(len(keys), capacity)
    everywhere = torch.arange(capacity, device=keys.device)
    # Of those that were last seen together, the first ones.
    by_age = last_seen[:capacity] * capacity + everywhere
    longest_unseen = by_age.topk(count, largest=False).indices
    first = (keys[:, None] == keys).byte().argmax(1)  # where the image first comes
    is_new = ~known & (first == torch.arange(len(keys), device=keys.device))
    order = is_new.cumsum(0) - 1
    free = longest_unseen[order.clamp(0, count - 1)]
    fits = (order < count) & (last_seen[free] < clock)  # of no other in the batch
    places = torch.where(known, places, torch.where(fits, free, capacity)[first])
    known_keys[places] = keys
    last_seen[places] = clock
    return places, known


def _empty_places(keys, *_, **__) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(keys), torch.empty_like(keys, dtype=torch.bool)


@traceable("take_places", _empty_places, _WRITTEN)
def take_places(
    keys: torch.Tensor,
    known_keys: torch.Tensor,
    last_seen: torch.Tensor,
    clock: torch.Tensor,
    capacity: int,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give each image of a batch its place: that which it has, or of the image longest unseen.

    Args:
        keys: (B,) int64, of the images; one may come more than once.
        known_keys: (M,) int64, of the images that are remembered; written.
        last_seen: (M,) int64, the number of the batch in which each was seen, 0 for never; written.
        clock: Scalar int64, the number of the last batch; one more is written.
        capacity: The first so many places of M are for images; that after them is of nobody.
        backend: `auto`, `reference` or `triton`.

    Returns:
        Places (B,) int64, `capacity` for an image that finds none as all are of others of the
        batch; and (B,) bool, whether an image was there before.
    """
    if choose(backend, keys, ("triton",)) == "triton" and len(keys) <= MOST_IMAGES:
        from rss_agents.kernels.triton.memory_places import take_places_triton

        return take_places_triton(keys, known_keys, last_seen, clock, capacity)
    return take_places_reference(keys, known_keys, last_seen, clock, capacity)


def take_slots_reference(
    keys: torch.Tensor,
    places: torch.Tensor,
    known: torch.Tensor,
    count: torch.Tensor,
    ring: int,
    capacity: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take slots for all groups at once."""
    before = count[places] * known
    earlier, equals = rank_among_equals(keys)
    # Each image of the batch has a spare place; there goes what is forgotten at once.
    spare = capacity + torch.arange(len(keys), device=keys.device)
    places = torch.where(places == capacity, spare, places)
    kept = earlier >= equals - ring  # of one image's groups only the last have a place
    target, group = torch.where(kept, places, spare), (before + earlier) % ring
    count[target] = before + equals
    age = torch.arange(1, ring, device=keys.device)
    # (Groups of the same image in this batch have taken the places of the oldest.)
    there = (age <= before[:, None]) & (age <= ring - equals[:, None])
    older = places[:, None] * ring + (before[:, None] - age) % ring
    slots = torch.cat([(target * ring + group)[:, None], older], 1)
    return slots, torch.cat([torch.ones_like(known)[:, None], there], 1)


def _empty_slots(
    keys, places, known, count, ring: int, *_, **__
) -> tuple[torch.Tensor, torch.Tensor]:
    slots = keys.new_empty(len(keys), ring)
    return slots, torch.empty_like(slots, dtype=torch.bool)


@traceable("take_slots", _empty_slots, ("count",))
def take_slots(
    keys: torch.Tensor,
    places: torch.Tensor,
    known: torch.Tensor,
    count: torch.Tensor,
    ring: int,
    capacity: int,
    *,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give each image's new group its slot, and find those of the image's groups before.

    A place has a ring of slots, which are taken one after the other.

    Args:
        keys: (B,) int64, of the images.
        places: (B,) int64 of `take_places`.
        known: (B,) bool of `take_places`.
        count: (M,) int64, groups that each place has been given so far; written. Beyond `capacity`
            there is a spare place for each image of the batch, of what is forgotten at once.
        ring: Slots of a place.
        capacity: Places of images.
        backend: `auto`, `reference` or `triton`.

    Returns:
        Slots (B, ring) int64, the number of the place times `ring` and so many on: of the new group
        and then of older ones, from the newest to the oldest; and (B, ring) bool, which are there.
    """
    if choose(backend, keys, ("triton",)) == "triton" and len(keys) <= MOST_IMAGES:
        from rss_agents.kernels.triton.memory_places import take_slots_triton

        return take_slots_triton(keys, places, known, count, ring, capacity)
    return take_slots_reference(keys, places, known, count, ring, capacity)
