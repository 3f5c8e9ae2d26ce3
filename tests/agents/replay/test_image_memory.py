"""Images by their keys."""

from __future__ import annotations

from replay_samples import random_images
from rss_agents.replay.replay_memory import ReplayMemory
from rss_env.action_maps import ActionMapGeometry


def test_an_image_and_its_mirror_image_have_one_key():
    geometry = ActionMapGeometry((4, 6), (2, 1), 3)
    memory = ReplayMemory(geometry, 5, 2, groups=2, batch_size=5)
    images = random_images(5, 4, 6)
    plain, flipped = memory.recognise(images), memory.recognise(images.flip(2))
    assert plain.keys.equal(flipped.keys)
    assert len(set(plain.keys.tolist())) == 5
    assert plain.mirrored.equal(~flipped.mirrored)
