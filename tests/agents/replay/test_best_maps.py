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
    assert memory.add(key, maps_of(0, 1), torch.tensor([[0.2, 0.3]])).unique().tolist() == [1]
    assert memory.add(key, maps_of(0, 2), torch.tensor([[0.1, 0.25]])).unique().tolist() == [1]
    assert memory.add(key, maps_of(2, 0), torch.tensor([[0.5, 0.4]])).unique().tolist() == [2]
    best, known = memory.recall(key)
    assert (best.unique().tolist(), known.tolist()) == ([2], [True])


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
    memory.add(keys, maps_of(1, 2).expand(2, -1, -1), torch.tensor([[0.5, 0.1], [0.0, 0.3]]))
    other.set_state(memory.get_state())
    assert other.recall(keys)[0].equal(memory.recall(keys)[0])
    assert other.add(keys[:1], maps_of(0), torch.tensor([[0.4]])).unique().tolist() == [1]
