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
    best = memory.recall(key)
    assert (best.classes.unique().tolist(), best.known.tolist()) == ([2], [True])
    assert best.scores.tolist() == [0.5]


def test_orders_are_compared_within_their_group_alone():
    memory = BestMaps(GEOMETRY, 2)
    key = memory.recognise(random_images(1, 4, 6)).keys
    memory.add(key, maps_of(1, 0), torch.tensor([[1.0, 0.0]]), anew=True)
    found = memory.add(key, maps_of(1, 2), torch.tensor([[0.2, 0.8]]), anew=True)
    assert found.unique().tolist() == [2]
    assert memory.add(key, maps_of()[:, :0], torch.zeros(1, 0)).unique().tolist() == [2]


def test_of_equal_scores_the_first_map_is_kept():
    memory = BestMaps(GEOMETRY, 2)
    key = memory.recognise(random_images(1, 4, 6)).keys
    assert memory.add(key, maps_of(2, 1), torch.tensor([[0.4, 0.4]])).unique().tolist() == [2]
    assert memory.add(key, maps_of(0, 1), torch.tensor([[0.4, 0.4]])).unique().tolist() == [2]


def test_what_was_refused_is_remembered_of_images_that_are_known():
    memory = BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.add(keys[:1], maps_of(1), torch.tensor([[0.5]]))
    memory.refuse(keys, torch.tensor([[2], [0]], dtype=torch.uint8).expand(-1, 24))
    assert memory.recall(keys).refused[:, 0].tolist() == [2, VOID]
    memory.add(keys, maps_of(0).expand(2, -1, -1), torch.tensor([[0.6], [0.6]]))
    assert memory.recall(keys).refused[:, 0].tolist() == [2, VOID]


def test_an_image_that_comes_twice_is_remembered_as_it_came_last():
    memory = BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(1, 4, 6)).keys.repeat(2)
    memory.add(keys, maps_of(0).expand(2, -1, -1), torch.tensor([[0.5], [0.5]]))
    memory.refuse(keys, torch.tensor([[1], [2]], dtype=torch.uint8).expand(-1, 24))
    assert memory.recall(keys).refused[:, 0].tolist() == [2, 2]


def test_unknown_images_have_no_map():
    memory = BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.add(keys[:1], maps_of(1), torch.tensor([[0.5]]))
    best = memory.recall(keys)
    assert best.known.tolist() == [True, False]
    assert (best.classes[1] == VOID).all()
    assert (best.refused == VOID).all()


def test_a_state_is_gone_on_from():
    memory, other = BestMaps(GEOMETRY, 2), BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.add(keys, maps_of(1, 2).expand(2, -1, -1), torch.tensor([[0.5, 0.1], [0.0, 0.3]]))
    memory.refuse(keys, torch.arange(48, dtype=torch.uint8).view(2, 24) % 3)
    other.set_state(memory.get_state())
    found, as_before = other.recall(keys), memory.recall(keys)
    assert found.classes.equal(as_before.classes)
    assert found.refused.equal(as_before.refused)
    assert other.add(keys[:1], maps_of(0), torch.tensor([[0.4]])).unique().tolist() == [1]
