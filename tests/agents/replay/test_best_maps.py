"""The memory of each image's best map."""

from __future__ import annotations

import pytest
import torch

from replay_samples import random_images
from rss_agents.replay.best_maps import BestMaps
from rss_env.action_maps import ActionMapGeometry
from rss_env.labels import VOID

GEOMETRY = ActionMapGeometry((4, 6), (1,), 3)


def maps_of(*classes: int) -> torch.Tensor:
    """(B, cells): a map of each class."""
    return torch.tensor(classes, dtype=torch.uint8)[:, None].repeat(1, 24)


def test_the_last_map_of_an_image_is_kept():
    memory = BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.put(keys, maps_of(0, 1), torch.tensor([0.2, 0.3]))
    memory.put(keys[:1], maps_of(2), torch.tensor([0.1]))
    maps, scores, known = memory.recall(keys)
    assert maps.equal(maps_of(2, 1))
    assert scores.tolist() == pytest.approx([0.1, 0.3])
    assert known.all()


def test_an_image_that_comes_twice_has_one_map():
    memory = BestMaps(GEOMETRY, 2)
    key = memory.recognise(random_images(1, 4, 6)).keys
    memory.put(key.repeat(2), maps_of(0, 1), torch.tensor([0.2, 0.3]))
    assert memory.recall(key)[0].equal(maps_of(1))
    assert len(memory) == 1


def test_unknown_images_have_no_map():
    memory = BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.put(keys[:1], maps_of(1), torch.tensor([0.5]))
    best, _, known = memory.recall(keys)
    assert known.tolist() == [True, False]
    assert (best[1] == VOID).all()


def test_a_state_is_gone_on_from():
    memory, other = BestMaps(GEOMETRY, 2), BestMaps(GEOMETRY, 2)
    keys = memory.recognise(random_images(2, 4, 6)).keys
    memory.put(keys, maps_of(1, 2), torch.tensor([0.5, 0.3]))
    other.set_state(memory.get_state())
    assert all(a.equal(b) for a, b in zip(other.recall(keys), memory.recall(keys), strict=True))
