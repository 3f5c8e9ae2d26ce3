"""The memory of how classes lie in scored maps."""

from __future__ import annotations

import torch

from replay_samples import random_images
from rss_agents.replay.region_memory import RegionMemory

SHARES = 6


def memory_of(num_images: int, **options) -> RegionMemory:
    """Of two groups of two maps beside the newest one, in batches of at most three images."""
    return RegionMemory((4, 6), num_images, 2, 2, SHARES, 3, **options)


def group(images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random shares, scores, and which maps are counted."""
    shares = torch.randint(0, 17, (images, 2, SHARES)) / 16
    return shares, torch.rand(images, 2), torch.rand(images, 2) < 0.5


def test_what_is_recalled_is_what_was_exchanged():
    memory = memory_of(9)
    keys = memory.recognise(random_images(4, 4, 6)).keys
    groups = [group(3) for _ in range(4)]
    for number, new in enumerate(groups):
        exchanged = memory.exchange(keys[:3], *new)
        found = memory.recall(keys[[2, 3, 0]])
        kept = min(number + 1, 3)  # with the newest one
        there = [v < kept for v in range(3)]
        assert exchanged.valid.tolist() == [there] * 3
        assert found.valid.tolist() == [there, [False] * 3, there]
        for v in range(kept):
            for name, told in zip(("shares", "scores", "counted"), groups[number - v], strict=True):
                assert getattr(exchanged, name)[:, v].equal(told.to(getattr(found, name).dtype))
                assert getattr(found, name)[[0, 2], v].equal(getattr(exchanged, name)[[2, 0], v])


def test_no_more_is_remembered_than_there_is_room_for():
    bytes_per_image = 3 * 2 * (2 * SHARES + 4 + 1)
    for memory in (memory_of(2), memory_of(100, max_bytes=2 * bytes_per_image)):
        keys = memory.recognise(random_images(3, 4, 6)).keys
        for image in range(3):
            memory.exchange(keys[image, None], *group(1))
        assert memory.recall(keys).valid[:, 0].tolist() == [False, True, True]


def test_a_state_is_gone_on_from():
    memory, other = memory_of(3), memory_of(3)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.exchange(keys, *group(2))
    other.set_state(memory.get_state())
    new = group(2)
    found, expected = other.exchange(keys, *new), memory.exchange(keys, *new)
    for name in ("shares", "scores", "counted", "valid"):
        assert getattr(found, name).equal(getattr(expected, name))


def test_nothing_is_asked_of_the_host():
    """Tensors of no data: whatever needs a value on the host raises."""
    memory = memory_of(5, device="meta")
    keys = memory.recognise(random_images(3, 4, 6).to("meta")).keys
    found = memory.exchange(keys, *(part.to("meta") for part in group(3)))
    assert found.shares.shape == (3, 3, 2, SHARES)
    assert memory.recall(keys).scores.shape == (3, 3, 2)
