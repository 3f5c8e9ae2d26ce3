"""Places and slots of a memory: against a memory of plain Python that shares no code."""

from __future__ import annotations

import pytest
import torch

from memory_problems import MEMORIES, batches_of, new_tables
from rss_agents.kernels.memory_places import take_places, take_slots


class PlainMemory:
    """Remembers which image was last seen when, and what has been written to which slot."""

    def __init__(self, capacity: int, ring: int):
        self.capacity, self.ring = capacity, ring
        self.seen: dict[int, int] = {}  # images by key
        self.groups: dict[int, list[int]] = {}  # numbers of the groups of each, the newest first

    def exchange(self, keys: list[int], clock: int) -> tuple[list[bool], list[list[int]]]:
        """Which images were there, and the groups of each after the new one, as far as kept."""
        known = [key in self.seen for key in keys]
        before = {key: list(self.groups.get(key, [])) for key in keys}
        self.seen.update(dict.fromkeys((key for key in keys if key in self.seen), clock))
        for key in dict.fromkeys(keys):
            if key in self.seen:
                continue
            if len(self.seen) == self.capacity:
                oldest = min(self.seen.values())
                if oldest == clock:
                    continue  # all are of this batch
                # Which of those that are as old, memories may choose; tests have no two of an age.
                forgotten = next(k for k, seen in self.seen.items() if seen == oldest)
                del self.seen[forgotten], self.groups[forgotten]
            self.seen[key] = clock
        for number, key in enumerate(keys):
            if key in self.seen:
                new = clock * 1000 + number
                self.groups[key] = [new, *self.groups.get(key, [])][: self.ring]
        older = [before[key][: max(0, self.ring - keys.count(key))] for key in keys]
        return known, older


@pytest.mark.parametrize("name", MEMORIES)
def test_places_and_slots_are_those_of_a_plain_memory(name):
    capacity, ring, batch, _ = MEMORIES[name]
    tables, count = new_tables(capacity, batch)
    written: dict[int, int] = {}  # group by slot
    plain = PlainMemory(capacity, ring)
    for clock, keys in enumerate(batches_of(name), 1):
        known, older = plain.exchange(keys.tolist(), clock)
        places, found = take_places(keys, *tables, capacity)
        slots, there = take_slots(keys, places, found, count, ring, capacity)
        assert int(tables[2]) == clock
        assert found.tolist() == known
        told = [
            [written[slot] for slot, is_there in zip(row, mask, strict=True) if is_there]
            for row, mask in zip(slots[:, 1:].tolist(), there[:, 1:].tolist(), strict=True)
        ]
        assert told == older
        assert there[:, 0].all()
        for number, slot in enumerate(slots[:, 0].tolist()):
            written[slot] = clock * 1000 + number


def test_the_image_longest_unseen_gives_way():
    tables, _ = new_tables(2, 1)
    for key in (5, 6, 5, 7):
        take_places(torch.tensor([key]), *tables, 2)
    assert sorted(tables[0][:2].tolist()) == [5, 7]


def test_images_beyond_the_capacity_find_no_place():
    tables, _ = new_tables(2, 3)
    places, known = take_places(torch.tensor([1, 2, 3]), *tables, 2)
    assert places.tolist() == [0, 1, 2]
    assert not known.any()
    places, known = take_places(torch.tensor([3, 2, 1]), *tables, 2)
    assert known.tolist() == [False, True, True]
