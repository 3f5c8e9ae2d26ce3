"""The memory of scored maps: what it gives back, keeps and forgets."""

from __future__ import annotations

import pytest
import torch

from replay_samples import random_images, scored
from rss_agents.replay.replay_memory import ReplayMemory
from rss_agents.replay.scored_maps import ScoredMaps
from rss_env.action_maps import ActionMapGeometry


@pytest.mark.parametrize("with_likelihoods", [False, True])
def test_memory_recalls_what_it_was_told(with_likelihoods):
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ReplayMemory(geometry, 9, 2, 2, 3, with_likelihoods=with_likelihoods)
    keys = memory.recognise(random_images(3, 4, 6)).keys
    groups: list[ScoredMaps] = []
    for number in range(4):  # the first is forgotten in the end: two groups are kept
        groups.append(scored(geometry, 3, with_likelihoods))
        found = memory.exchange(keys, groups[-1])
        assert found.valid.tolist() == [[True, number > 0, number > 1]] * 3
        assert (found.likelihoods is not None) == with_likelihoods
        for v, n in enumerate(range(number, max(-1, number - 3), -1)):
            assert found.own_maps[:, v].equal(groups[n].own_maps[:, 0])
            assert found.scores[:, v].equal(groups[n].scores[:, 0])
            assert found.predicted[:, v].equal(groups[n].predicted[:, 0])
            known = groups[n].likelihoods
            if found.likelihoods is not None and known is not None:
                assert found.likelihoods[:, v].equal(known[:, 0])
        assert len(memory) == 3


def test_memory_says_which_groups_there_are():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ReplayMemory(geometry, 3, 2, groups=1, batch_size=3)
    keys = memory.recognise(random_images(3)).keys
    assert memory.exchange(keys[:1], scored(geometry, 1)).valid.tolist() == [[True, False]]
    # One image twice in a batch: neither knows of the other, and the later one is kept.
    new = scored(geometry, 3)
    found = memory.exchange(keys[[1, 0, 1]], new)
    assert found.valid.tolist() == [[True, False], [True, True], [True, False]]
    assert (found.scores[0, 1] == 0).all()
    assert found.own_maps[:, 0].equal(new.own_maps[:, 0])
    assert found.scores[:, 0].equal(new.scores[:, 0])
    found = memory.exchange(keys[:2], scored(geometry, 2))
    assert found.valid.all()
    assert found.own_maps[:, 1].equal(new.own_maps[[1, 2], 0])


def test_one_image_all_over_a_batch_keeps_its_last_groups():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ReplayMemory(geometry, 4, 2, groups=2, batch_size=5)
    key = memory.recognise(random_images(1)).keys
    memory.exchange(key, scored(geometry, 1))
    new = scored(geometry, 5)
    found = memory.exchange(key.expand(5), new)
    assert found.valid.tolist() == [[True, False, False]] * 5
    assert found.own_maps[:, 0].equal(new.own_maps[:, 0])
    found = memory.exchange(key, scored(geometry, 1))
    assert found.valid.all()
    assert found.scores[0, 1:].equal(new.scores[[4, 3], 0])
    assert found.own_maps[0, 1:].equal(new.own_maps[[4, 3], 0])


def test_an_image_twice_in_a_batch_takes_the_place_of_its_oldest_group():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ReplayMemory(geometry, 4, 2, groups=3, batch_size=2)
    key = memory.recognise(random_images(1)).keys
    groups = [scored(geometry, 1) for _ in range(5)]
    for one in groups:
        memory.exchange(key, one)
    found = memory.exchange(key.expand(2), scored(geometry, 2))
    assert found.valid.tolist() == [[True, True, True, False]] * 2
    for v, n in ((1, 4), (2, 3)):
        assert found.own_maps[:, v].equal(groups[n].own_maps[:, 0].expand(2, -1, -1))
        assert found.scores[:, v].equal(groups[n].scores[:, 0].expand(2, -1, -1))


def test_memory_is_bounded():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    keys = ReplayMemory(geometry, 1, 2, 1, 1).recognise(random_images(4)).keys

    def known(memory: ReplayMemory, numbers: list[int]) -> list[bool]:
        found = [memory.exchange(keys[n, None], scored(geometry, 1)) for n in numbers]
        return [bool(part.valid[0, 1]) for part in found]

    bytes_per_image = 2 * 2 * (4 + 4 * 3)  # with room for a new group
    for memory in (
        ReplayMemory(geometry, 3, 2, 1, 1),
        ReplayMemory(geometry, 100, 2, 1, 1, max_bytes=3 * bytes_per_image),
    ):
        # Three images fit. 0 is seen again, so 1 is the longest unseen when 3 comes.
        assert known(memory, [0, 1, 2, 0, 3]) == [False, False, False, True, False]
        assert known(memory, [0, 2, 3, 1]) == [True, True, True, False]
        assert len(memory) == 3


def test_a_batch_of_more_images_than_there_are_places():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ReplayMemory(geometry, 2, 2, 1, batch_size=4)
    keys = memory.recognise(random_images(4)).keys
    new = scored(geometry, 4)
    assert memory.exchange(keys, new).valid.tolist() == [[True, False]] * 4
    assert len(memory) == 2
    found = memory.exchange(keys, scored(geometry, 4))
    assert found.valid[:, 1].tolist() == [True, True, False, False]
    assert found.scores[:2, 1].equal(new.scores[:2, 0])
    assert (found.scores[2:, 1] == 0).all()


def test_nothing_is_asked_of_the_host():
    """Tensors of no data: whatever needs a value on the host raises."""
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ReplayMemory(geometry, 5, 2, 2, 3, device="meta")
    keys = memory.recognise(random_images(3, 4, 6).to("meta")).keys
    shape = (3, 1, 2)
    new = ScoredMaps(
        torch.zeros(6, geometry.num_cells, dtype=torch.uint8, device="meta"),
        torch.zeros(*shape, dtype=torch.int64, device="meta"),
        torch.zeros(*shape, 2, device="meta"),
        torch.zeros(*shape, 2, 3, device="meta"),
        torch.zeros(3, 1, dtype=torch.bool, device="meta"),
    )
    found = memory.exchange(keys, new)
    assert found.own_maps.shape == (3, 3, 2, geometry.num_cells)


@pytest.mark.parametrize("with_likelihoods", [False, True])
def test_what_is_recalled_is_what_was_exchanged(with_likelihoods):
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ReplayMemory(geometry, 9, 2, 2, 3, with_likelihoods=with_likelihoods)
    keys = memory.recognise(random_images(4, 4, 6)).keys
    groups = [scored(geometry, 3, with_likelihoods) for _ in range(4)]
    for number, group in enumerate(groups):
        memory.exchange(keys[:3], group)
        before = memory.get_state()
        found = memory.recall(keys[[2, 3, 0]])
        assert not found.is_new
        kept = min(number + 1, 3)  # with the newest one
        there = [v < kept for v in range(3)]
        assert found.valid.tolist() == [there, [False] * 3, there]
        assert (found.scores[1] == 0).all()
        for v in range(kept):
            one = groups[number - v]
            for place, image in ((0, 2), (2, 0)):
                assert found.own_maps[place, v].equal(one.own_maps[image, 0])
                assert found.scores[place, v].equal(one.scores[image, 0])
                assert found.predicted[place, v].equal(one.predicted[image, 0])
                if found.likelihoods is not None and one.likelihoods is not None:
                    told = one.likelihoods[image, 0].half().float()
                    assert found.likelihoods[place, v].equal(told)
        after = memory.get_state()
        assert all(a.equal(b) for a, b in zip(before["rows"], after["rows"], strict=True))


def test_maps_that_are_not_learned_from_are_remembered_as_such():
    geometry = ActionMapGeometry((2, 2), (1,), 2)
    memory = ReplayMemory(geometry, 3, 4, groups=2, batch_size=2, with_uncounted=True)
    keys = memory.recognise(random_images(2)).keys
    maps = torch.zeros(2, 4, 4, dtype=torch.uint8)
    scores = torch.rand(2, 4, 1)
    for uncounted in (3, 0, 1):
        found = memory.exchange(keys, ScoredMaps.new(maps, scores, geometry, uncounted=uncounted))
    expected = [[True] * 3 + [False], [True] * 4, [True] + [False] * 3]
    for scored_maps in (found, memory.recall(keys)):
        assert scored_maps.counted is not None
        assert scored_maps.counted.tolist() == [expected] * 2
    assert ScoredMaps.new(maps, scores, geometry).counted is None
