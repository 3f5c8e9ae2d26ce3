"""The memory of each image's best map."""

from __future__ import annotations

import torch

from replay_samples import random_images
from rss_agents.replay.best_maps import BestMaps
from rss_env.action_maps import ActionMapGeometry
from rss_env.labels import VOID

GEOMETRY = ActionMapGeometry((4, 6), (1,), 3)


def maps_of(*classes: int) -> torch.Tensor:
    """(1, K, cells): a map of each class."""
    return torch.tensor(classes, dtype=torch.uint8)[None, :, None].expand(1, -1, 24)


def test_the_best_map_so_far_is_kept():
    memory = BestMaps(GEOMETRY, 2)
    key = memory.recognise(random_images(1, 4, 6)).keys
    for maps, scores, expected in (
        (maps_of(0, 1), [0.2, 0.3], 1),
        (maps_of(0, 2), [0.1, 0.25], 1),
        (maps_of(2, 0), [0.5, 0.4], 2),
        (maps_of(0, 1), [0.6, 0.6], 0),  # of equal ones the first
        (maps_of(2, 1), [0.6, 0.6], 0),  # and what is remembered before any
    ):
        assert memory.add(key, maps, torch.tensor([scores])).unique().tolist() == [expected]
        best, known = memory.recall(key)
        assert (best.unique().tolist(), known.tolist()) == ([expected], [True])


def test_what_the_best_map_changed_is_told():
    """Of what was answered when it was scored; nothing, where that is not known."""
    memory = BestMaps(GEOMETRY, 3)
    keys = memory.recognise(random_images(3, 4, 6)).keys
    answers = torch.zeros(2, 24, dtype=torch.uint8)
    answers[:, :5] = 1
    maps = maps_of(1, 2).expand(2, -1, -1)
    memory.add(keys[:2], maps, torch.tensor([[0.5, 0.1], [0.2, 0.3]]), answers=answers)
    memory.add(keys[2:], maps_of(1), torch.tensor([[0.5]]))
    worse = maps_of(0).expand(2, -1, -1)
    memory.add(keys[:2], worse, torch.tensor([[0.0], [0.0]]), answers=answers)
    best, known = memory.recall(keys, changes=True)
    assert known.all()
    assert best[0].tolist() == [VOID] * 5 + [1] * 19
    assert best[1].tolist() == [2] * 24
    assert best[2].tolist() == [VOID] * 24


def test_orders_are_compared_within_their_group_alone():
    memory = BestMaps(GEOMETRY, 2)
    key = memory.recognise(random_images(1, 4, 6)).keys
    memory.add(key, maps_of(1, 0), torch.tensor([[1.0, 0.0]]), anew=True)
    found = memory.add(key, maps_of(1, 2), torch.tensor([[0.2, 0.8]]), anew=True)
    assert found.unique().tolist() == [2]
    assert memory.add(key, maps_of()[:, :0], torch.zeros(1, 0)).unique().tolist() == [2]


def test_unknown_images_have_no_map():
    memory = BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.add(keys[:1], maps_of(1), torch.tensor([[0.5]]))
    best, known = memory.recall(keys)
    assert known.tolist() == [True, False]
    assert (best[1] == VOID).all()


def test_a_state_is_gone_on_from():
    memory, other = BestMaps(GEOMETRY, 2), BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    scores, answers = torch.tensor([[0.5, 0.1], [0.0, 0.3]]), maps_of(1).expand(2, -1, -1)[:, 0]
    memory.add(keys, maps_of(1, 2).expand(2, -1, -1), scores, answers=answers)
    other.set_state(memory.get_state())
    for changes in (False, True):
        found = other.recall(keys, changes=changes)[0]
        assert found.equal(memory.recall(keys, changes=changes)[0])
    assert other.add(keys[:1], maps_of(0), torch.tensor([[0.4]])).unique().tolist() == [1]
