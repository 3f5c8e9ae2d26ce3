"""What is remembered of images: scored maps, and shares of classes in cells."""

from __future__ import annotations

import torch

from agents.replay import ReplayMemory, ShareMemory
from rss_env.action_maps import ActionMapGeometry


def test_memory_recalls_what_it_was_told_in_either_orientation():
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ReplayMemory(geometry, group_size=2, groups=2)
    images = torch.randint(0, 256, (3, 4, 6, 3), dtype=torch.uint8)
    keys, mirrored = memory.recognise(images)
    assert len(set(keys)) == 3
    assert memory.recall(keys, mirrored).maps.shape == (3, 0, 2, geometry.num_cells)
    told = []
    for round_ in range(3):  # the first round is forgotten: two groups are kept
        maps = torch.randint(0, 3, (3, 2, geometry.num_cells), dtype=torch.uint8)
        scores, deviations = torch.rand(3, 2, 2), torch.rand(2)
        memory.remember(keys, mirrored, maps, scores, deviations)
        told.append((maps, scores, deviations))
        assert len(memory) == 3, round_
    flipped_keys, flipped = memory.recognise(images.flip(2))
    assert flipped_keys == keys
    assert (flipped != mirrored).all()
    for turned, want_turned in ((mirrored, torch.zeros(3)), (flipped, torch.ones(3))):
        recalled = memory.recall(keys, turned)
        assert recalled.valid.all()
        for v, (maps, scores, deviations) in enumerate(told[1:]):
            expected = geometry.mirror(maps, want_turned.bool())
            torch.testing.assert_close(recalled.maps[:, v], expected, rtol=0, atol=0)
            torch.testing.assert_close(recalled.scores[:, v], scores)
            torch.testing.assert_close(recalled.deviations[:, v], deviations.expand(3, 2))
    other, _ = memory.recognise(torch.zeros(1, 4, 6, 3, dtype=torch.uint8))
    mixed = memory.recall([keys[0], *other], torch.tensor([mirrored[0], False]))
    assert mixed.valid.tolist() == [[True, True], [False, False]]


def test_memory_is_bounded():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ReplayMemory(geometry, group_size=2, groups=1, max_bytes=3 * 2 * 4)
    for key in (1, 2, 3, 1, 4):  # 1 is seen again, so 2 is the longest unseen
        memory.remember(
            [key],
            torch.tensor([False]),
            torch.full((1, 2, 4), key, dtype=torch.uint8),
            torch.zeros(1, 2, 1),
            torch.ones(1),
        )
    found = memory.recall([1, 2, 3, 4], torch.zeros(4, dtype=torch.bool))
    assert found.valid[:, 0].tolist() == [True, False, True, True]


def test_shares_add_up_in_either_orientation():
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ShareMemory(geometry)
    images = torch.randint(0, 256, (2, 4, 6, 3), dtype=torch.uint8)
    truth = torch.randint(0, 5, (2, 3, geometry.num_cells)).float() / 4
    first = torch.zeros(2, 2, geometry.num_cells, dtype=torch.uint8)
    first[:, 1] = 1
    known = memory.add(images, first, truth[:, :2])
    torch.testing.assert_close(known[:, :2], truth[:, :2])
    assert (known[:, 2] == -1).all()
    second = torch.full((2, 1, geometry.num_cells), 2, dtype=torch.uint8)
    turned = torch.ones(2, dtype=torch.bool)
    known = memory.add(images.flip(2), second, geometry.mirror(truth[:, 2:], turned))
    torch.testing.assert_close(known, geometry.mirror(truth, turned))
    assert len(memory) == 2


def test_shares_of_the_images_longest_unseen_give_way():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ShareMemory(geometry, max_bytes=2 * 2 * 2 * 4)  # two images
    images = torch.randint(0, 256, (3, 2, 2, 3), dtype=torch.uint8)
    maps, told = torch.zeros(1, 1, 4, dtype=torch.uint8), torch.ones(1, 1, 4)
    for number in (0, 1, 0, 2):
        memory.add(images[number, None], maps, told)
    other = torch.ones(1, 1, 4, dtype=torch.uint8)
    assert len(memory) == 2
    assert (memory.add(images[0, None], other, told)[0, 0] == 1).all()
    assert (memory.add(images[1, None], other, told)[0, 0] == -1).all()
