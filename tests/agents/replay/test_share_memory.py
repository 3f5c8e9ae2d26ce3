"""The memory of shares of classes in cells."""

from __future__ import annotations

import torch

from replay_samples import random_images
from rss_agents.replay.share_memory import ShareMemory
from rss_env.action_maps import ActionMapGeometry


def test_shares_add_up():
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ShareMemory(geometry, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    truth = torch.randint(0, 5, (2, 3, geometry.num_cells)).float() / 4
    first = torch.zeros(2, 2, geometry.num_cells, dtype=torch.uint8)
    first[:, 1] = 1
    known = memory.add(keys, first, truth[:, :2])
    torch.testing.assert_close(known[:, :2], truth[:, :2])
    assert (known[:, 2] == -1).all()
    second = torch.full((2, 1, geometry.num_cells), 2, dtype=torch.uint8)
    torch.testing.assert_close(memory.add(keys, second, truth[:, 2:]), truth)
    assert len(memory) == 2


def test_shares_of_the_images_longest_unseen_give_way():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ShareMemory(geometry, 9, max_bytes=2 * 2 * 2 * 4)  # two images
    keys = memory.recognise(random_images(3)).keys
    maps, shares = torch.zeros(1, 1, 4, dtype=torch.uint8), torch.ones(1, 1, 4)
    for number in (0, 1, 0, 2):
        memory.add(keys[number, None], maps, shares)
    other = torch.ones(1, 1, 4, dtype=torch.uint8)
    assert len(memory) == 2
    assert (memory.add(keys[0, None], other, shares)[0, 0] == 1).all()
    assert (memory.add(keys[1, None], other, shares)[0, 0] == -1).all()
