"""Places and slots of a memory: the CUDA backend of `memory_places`.

One program does all of a batch: places are taken one after the other.
"""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportCallIssue=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded

_SEARCHED = 1024  # places at a time


@triton.jit
def _compared(keys, batch, BATCH: tl.constexpr):
    """Of each image, the first that is the same, those before it, and all of them: (BATCH,)."""
    b, other = tl.arange(0, BATCH)[:, None], tl.arange(0, BATCH)[None, :]
    key = tl.load(keys + b, mask=b < batch, other=0)
    equal = (key == tl.load(keys + other, mask=other < batch, other=0)) & (other < batch)
    first = tl.min(tl.where(equal, other, BATCH), 1)
    earlier = tl.sum((equal & (other < b)).to(tl.int32), 1)
    return first, earlier, tl.sum(equal.to(tl.int32), 1)


@triton.jit
def take(
    keys,  # (B,) int64
    known_keys,  # (M,) int64; written
    last_seen,  # (M,) int64; written
    clock,  # () int64; written
    places,  # (B,) int64; written
    known,  # (B,) bool; written
    batch,  # B
    capacity,
    BATCH: tl.constexpr,
    BLOCK: tl.constexpr,
    SEARCHED: tl.constexpr,
):
    """Take places, one image after the other."""
    b = tl.arange(0, BATCH)
    inside = b < batch
    key = tl.load(keys + b, mask=inside, other=0)
    now = tl.load(clock) + 1
    place = tl.zeros((BATCH,), tl.int64) + capacity
    for start in range(0, capacity, BLOCK):
        p = start + tl.arange(0, BLOCK)
        there = tl.load(last_seen + p, mask=p < capacity, other=0) > 0
        remembered = tl.load(known_keys + p, mask=p < capacity, other=0)
        match = (key[:, None] == remembered[None, :]) & there[None, :]
        place = tl.minimum(place, tl.min(tl.where(match, p[None, :].to(tl.int64), capacity), 1))
    is_known = (place < capacity) & inside
    first, _, _ = _compared(keys, batch, BATCH)
    is_new = inside & (place >= capacity) & (first == b)
    tl.debug_barrier()  # all have read what is written now
    tl.store(clock, now)
    tl.store(last_seen + place, tl.zeros_like(place) + now, mask=is_known)
    tl.debug_barrier()
    for i in range(batch):
        if tl.sum(((b == i) & is_new).to(tl.int32), 0) > 0:
            longest = now * capacity  # what was last seen now is nobody's to take
            for start in range(0, capacity, SEARCHED):
                p = start + tl.arange(0, SEARCHED).to(tl.int64)
                seen = tl.load(last_seen + p, mask=p < capacity, other=0)
                ages = tl.where(p < capacity, seen * capacity + p, now * capacity)
                longest = tl.minimum(longest, tl.min(ages, 0))
            if longest < now * capacity:
                free = longest % capacity
                tl.debug_barrier()
                tl.store(last_seen + free, now)
                tl.debug_barrier()
                place = tl.where(b == i, free, place)
    # An image that comes again has the place of the first time.
    is_first = first[:, None] == tl.arange(0, BATCH)[None, :]
    place = tl.sum(tl.where(is_first, place[None, :], 0), 1)
    tl.store(known_keys + place, key, mask=inside)
    tl.store(last_seen + place, tl.zeros_like(place) + now, mask=inside)
    tl.store(places + b, place, mask=inside)
    tl.store(known + b, is_known, mask=inside)


@triton.jit
def slot(
    keys,  # (B,) int64
    places,  # (B,) int64
    known,  # (B,) bool
    count,  # (M,) int64; written
    slots,  # (B, ring) int64; written
    there,  # (B, ring) bool; written
    batch,  # B
    ring,
    capacity,
    BATCH: tl.constexpr,
    RING: tl.constexpr,
):
    """Take the slots of the new groups, and find those of the older ones."""
    b, age = tl.arange(0, BATCH), tl.arange(0, RING)[None, :]
    inside = b < batch
    place = tl.load(places + b, mask=inside, other=capacity)
    is_known = tl.load(known + b, mask=inside, other=0)
    before = tl.where(is_known, tl.load(count + place, mask=inside, other=0), 0)
    _, earlier, equals = _compared(keys, batch, BATCH)
    place = tl.where(place == capacity, capacity + b, place)
    target = tl.where(earlier >= equals - ring, place, capacity + b)
    tl.debug_barrier()  # all have read what is written now
    tl.store(count + target, before + equals, mask=inside)
    newest = target * ring + (before + earlier) % ring
    older = place[:, None] * ring + (before[:, None] - age + ring) % ring
    is_there = (age <= before[:, None]) & (age <= ring - equals[:, None])
    written = inside[:, None] & (age < ring)
    to = b[:, None] * ring + age
    tl.store(slots + to, tl.where(age == 0, newest[:, None], older), mask=written)
    tl.store(there + to, (age == 0) | is_there, mask=written)


def take_tile_of(batch: int) -> dict[str, int]:
    """The constants that B decides, of places."""
    side = padded(batch)
    return {"BATCH": side, "BLOCK": block_beside(side), "SEARCHED": _SEARCHED}


def slot_tile_of(batch: int, ring: int) -> dict[str, int]:
    """The constants that B and the ring decide, of slots."""
    return {"BATCH": padded(batch), "RING": padded(ring)}


def take_places_triton(
    keys: torch.Tensor,
    known_keys: torch.Tensor,
    last_seen: torch.Tensor,
    clock: torch.Tensor,
    capacity: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take places of at most 64 images in one program; as `take_places`."""
    places, known = torch.empty_like(keys), torch.empty_like(keys, dtype=torch.bool)
    given = (keys, known_keys, last_seen, clock, places, known, len(keys), capacity)
    launch(take, (1,), *given, **take_tile_of(len(keys)))
    return places, known


def take_slots_triton(
    keys: torch.Tensor,
    places: torch.Tensor,
    known: torch.Tensor,
    count: torch.Tensor,
    ring: int,
    capacity: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take slots of at most 64 images in one program; as `take_slots`."""
    slots = keys.new_empty(len(keys), ring)
    there = torch.empty_like(slots, dtype=torch.bool)
    given = (keys, places, known, count, slots, there, len(keys), ring, capacity)
    launch(slot, (1,), *given, **slot_tile_of(len(keys), ring))
    return slots, there
