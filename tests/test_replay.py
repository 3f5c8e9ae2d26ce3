"""What is remembered of images: scored maps, and shares of classes in cells."""

from __future__ import annotations

import pytest
import torch

from agents.replay import ReplayMemory, ShareMemory
from rss_env.action_maps import ActionMapGeometry


@pytest.mark.parametrize("with_likelihoods", [False, True])
def test_memory_recalls_what_it_was_told_in_either_orientation(with_likelihoods):
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ReplayMemory(geometry, 2, groups=2, with_likelihoods=with_likelihoods)
    images = torch.randint(0, 256, (3, 4, 6, 3), dtype=torch.uint8)
    told = []
    for round_ in range(4):  # the first round is forgotten: two groups are kept
        turned = torch.full((3,), round_ % 2 == 1)
        maps = torch.randint(0, 3, (3, 2, geometry.num_cells), dtype=torch.uint8)
        scores, chances = torch.rand(3, 2, 2), torch.rand(maps.shape).half()
        found = memory.exchange(
            images.flip(2) if round_ % 2 else images,
            geometry.mirror(maps, turned),
            scores,
            geometry.mirror(chances, turned) if with_likelihoods else None,
        )
        told.append((maps, scores, chances))
        order = [round_, *range(max(0, round_ - 2), round_)]  # the new one, then the oldest
        assert found.valid.tolist() == [[True] * len(order)] * 3
        assert (found.likelihoods is not None) == with_likelihoods
        for v, number in enumerate(order):
            maps, scores, chances = told[number]
            assert found.maps[:, v].equal(geometry.mirror(maps, turned))
            assert found.scores[:, v].equal(scores)
            if found.likelihoods is not None:
                assert found.likelihoods[:, v].equal(geometry.mirror(chances, turned))
        assert len(memory) == 3


def test_memory_says_which_groups_there_are():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ReplayMemory(geometry, 2, groups=1)
    images = torch.randint(0, 256, (3, 2, 2, 3), dtype=torch.uint8)
    maps, scores = torch.ones(3, 2, 4, dtype=torch.uint8), torch.ones(3, 2, 1)
    assert memory.exchange(images[:1], maps[:1], scores[:1]).valid.tolist() == [[True]]
    found = memory.exchange(images[[1, 0, 1]], maps, scores)  # one image twice in a batch
    assert found.valid.tolist() == [[True, False], [True, True], [True, False]]
    assert (found.scores[0, 1] == 0).all()
    assert memory.exchange(images[:2], maps[:2], scores[:2]).valid.all()


def test_memory_is_bounded():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    images = torch.randint(0, 256, (4, 2, 2, 3), dtype=torch.uint8)

    def known(memory: ReplayMemory, numbers: list[int]) -> list[bool]:
        maps, scores = torch.zeros(1, 2, 4, dtype=torch.uint8), torch.zeros(1, 2, 1)
        chances = torch.ones(1, 2, 4) if memory is generous else None
        found = [memory.exchange(images[n, None], maps, scores, chances) for n in numbers]
        return [part.valid.shape[1] == 2 for part in found]

    generous = ReplayMemory(geometry, 2, 1, with_likelihoods=True, max_bytes=3 * 2 * 4 * 3)
    for memory in (generous, ReplayMemory(geometry, 2, 1, max_bytes=3 * 2 * 4)):
        # Three images fit. 0 is seen again, so 1 is the longest unseen when 3 comes.
        assert known(memory, [0, 1, 2, 0, 3]) == [False, False, False, True, False]
        assert known(memory, [0, 2, 3, 1]) == [True, True, True, False]
        assert len(memory) == 3


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
