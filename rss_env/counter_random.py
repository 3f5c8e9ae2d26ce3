"""Random numbers as a pure function of counters, so that a thousand streams draw at once.

A draw is a hash of integer keys such as (sub-environment seed, episode, purpose). Nothing is
advanced and nothing depends on who else draws: the whole random state is the counters.

Source: the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
generators", OOPSLA 2014), chained once per key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from rss_env.compiled import compiled

# Purposes, kept apart by the third key.
SCENE_STREAM, MIRROR_STREAM, NOISE_STREAM, AUGMENTATION_STREAM, MAP_STREAM = 1, 2, 3, 4, 5
POLICY_STREAM, VIEW_STREAM = 6, 7

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


def normal_of_keys(states: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers by one more key, which lies on a device; the host waits for nothing.

    Args:
        states: (...) int64, the bits of `hash_counters`, on the device of the keys.
        keys: (...) int64, of the same shape.

    Returns:
        (...) float64.
    """
    states = _mixed(states, keys)
    first, second = (
        ((_mixed(states, torch.full_like(states, draw)) >> 11) & (2**53 - 1)).double() * 2.0**-53
        for draw in (0, 1)
    )
    return (-2.0 * (-first).log1p()).sqrt() * (2.0 * np.pi * second).cos()


def _mixed(states: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """The step of `hash_counters`, on signed integers: shifts keep their sign."""
    states = states + keys + _signed(0x9E3779B97F4A7C15)
    states = (states ^ ((states >> 30) & (2**34 - 1))) * _signed(0xBF58476D1CE4E5B9)
    states = (states ^ ((states >> 27) & (2**37 - 1))) * _signed(0x94D049BB133111EB)
    return states ^ ((states >> 31) & (2**33 - 1))


def _signed(number: int) -> int:
    return number - 2**64
