"""Random numbers as a function of counters."""

from __future__ import annotations

import numpy as np

from rss_env import counter_random


def test_integers_of_episodes_are_those_of_any_keys():
    seeds, episodes = np.random.default_rng(0).integers(0, 2**62, (2, 50))
    fast = counter_random.integers_of_episodes(1000, seeds, episodes, 1)
    plain = counter_random.integers(1000, seeds, episodes, 1)
    assert fast.dtype == plain.dtype == np.int64
    np.testing.assert_array_equal(fast, plain)
    first = counter_random.integers_of_episodes(1000, seeds, np.zeros_like(episodes), 1)
    unbegun = counter_random.integers_of_episodes(1000, seeds, np.full_like(episodes, -1), 1)
    np.testing.assert_array_equal(unbegun, first)
