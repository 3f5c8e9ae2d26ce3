"""Random numbers as a pure function of counters, so that a thousand streams draw at once.

A draw is a hash of integer keys such as (sub-environment seed, episode, purpose). Nothing is
advanced and nothing depends on who else draws: the whole random state is the counters.

Source: the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
generators", OOPSLA 2014), chained once per key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rss_env.compiled import compiled

# Purposes, kept apart by the third key.
SCENE_STREAM, MIRROR_STREAM, NOISE_STREAM, AUGMENTATION_STREAM = 1, 2, 3, 4

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _finalise(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def hash_counters(*keys: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Hash integer keys to 64 well-mixed bits.

    Args:
        *keys: Non-negative integers or arrays of them; they broadcast against each other.

    Returns:
        uint64 array of the broadcast shape (at least 1-D).
    """
    state = np.zeros(1, np.uint64)
    for key in keys:  # array arithmetic wraps modulo 2**64, as the hash needs
        state = _finalise(state + np.asarray(key).astype(np.uint64) + _GOLDEN_GAMMA)
    return state


@compiled()
def integers_of_episodes(high, seeds, episodes, purpose):
    """Draw as `integers` from (G,) int64, (G,) int64 and a number, which every step asks for.

    Before its first episode a group has the number -1, and gets what the first will have.
    """
    numbers = np.empty(seeds.size, np.int64)
    for g in range(seeds.size):
        state = np.uint64(0)
        for key in (seeds[g], max(episodes[g], 0), purpose):
            state += np.uint64(key) + _GOLDEN_GAMMA
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state ^= state >> np.uint64(31)
        numbers[g] = np.int64(np.float64(state >> np.uint64(11)) * 2.0**-53 * high)
    return numbers


def uniform(*keys: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1), one for each combination of keys (float64)."""
    return (hash_counters(*keys) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(high: int, *keys: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Integers uniform in [0, `high`), one for each combination of keys (int64)."""
    return (uniform(*keys) * high).astype(np.int64)


def normal(*keys: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Standard normal numbers, one for each combination of keys (float64; Box-Muller)."""
    radius = np.sqrt(-2.0 * np.log1p(-uniform(*keys, 0)))
    return radius * np.cos(2.0 * np.pi * uniform(*keys, 1))
