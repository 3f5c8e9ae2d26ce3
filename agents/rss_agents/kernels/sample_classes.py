"""K classes for every cell, drawn from its probabilities with random numbers that are counters.

Each image has a key; a cell's numbers are the SplitMix64 stream whose state is a hash of the key
and the cell. So a draw does not depend on what else is in the batch, or on who draws it.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_env.compiled import compiled
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable

_GAMMA, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BELOW_ONE = 1.0 - 2.0**-24  # the largest float32 below 1


def _signed(number: int) -> int:
    """The int64 of the same 64 bits: torch has no arithmetic of uint64."""
    return (number + 2**63) % 2**64 - 2**63


def _finalise(state: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser of int64 taken for 64 bits; products wrap."""
    for shift, factor in ((30, _MIX1), (27, _MIX2)):
        logical = (state >> shift) & ((1 << (64 - shift)) - 1)
        state = (state ^ logical) * _signed(factor)
    return state ^ ((state >> 31) & ((1 << 33) - 1))


def _uniform(keys: torch.Tensor, cells: int, count: int) -> torch.Tensor:
    """The first numbers (B, P, count) of each cell's stream, in [0, 1), float32."""
    device = keys.device
    cell = torch.arange(1, cells + 1, device=device)
    states = _finalise(keys[:, None] + cell * _signed(_GAMMA))
    number = torch.arange(1, count + 1, device=device)
    bits = _finalise(states[..., None] + number * _signed(_GAMMA))
    return ((bits >> 40) & 0xFFFFFF).float() * 2.0**-24


def mix_with_uniform(
    probabilities: torch.Tensor, exploration: float | torch.Tensor
) -> torch.Tensor:
    """Give every class of (B, C, P) probabilities at least `exploration` / C."""
    return (1.0 - exploration) * probabilities + exploration / probabilities.shape[1]


def sample_classes_reference(
    probabilities: torch.Tensor,
    keys: torch.Tensor,
    num_maps: int,
    stratified: bool,
    exploration: float,
) -> torch.Tensor:
    """The classes by inverting every cell's distribution function, all cells at once."""
    if exploration:
        probabilities = mix_with_uniform(probabilities, exploration)
    uniform = _uniform(keys, probabilities.shape[2], 2 * num_maps if stratified else num_maps)
    draws = uniform[..., :num_maps]
    if stratified:
        strata = torch.arange(num_maps, device=keys.device)
        part = draws.new_full((), num_maps)  # by a Python number, CUDA would not divide truly
        draws = ((strata + draws) / part).clamp(max=_BELOW_ONE)
        order = strata.expand(draws.shape).clone()
        for k in range(num_maps - 1, 0, -1):  # Fisher and Yates' shuffle
            other = (uniform[..., num_maps + k, None] * (k + 1)).long()
            swapped = order.gather(2, other)
            order.scatter_(2, other, order[..., k, None].clone())
            order[..., k] = swapped[..., 0]
        draws = draws.gather(2, order)
    cumulative = [probabilities[:, 0]]
    for c in range(1, probabilities.shape[1]):  # in order, so that all backends round alike
        cumulative.append(cumulative[-1] + probabilities[:, c])
    thresholds = draws * cumulative[-1][..., None]
    classes = torch.zeros_like(thresholds, dtype=torch.uint8)
    for below in cumulative[:-1]:
        classes += (below[..., None] <= thresholds).to(torch.uint8)
    return classes.transpose(1, 2).contiguous()


@compiled(inline="always")
def _number(state, count):
    """Number `count` (from 1) of the SplitMix64 stream of a state, as 64 bits."""
    bits = state + np.uint64(count) * np.uint64(_GAMMA)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(_MIX1)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(_MIX2)
    return bits ^ (bits >> np.uint64(31))


@compiled(inline="always")
def _fraction(bits):
    """The top 24 bits as a number in [0, 1)."""
    return np.float32(np.int32(bits >> np.uint64(40))) * np.float32(2.0**-24)


@BatchLoop
def _draw(
    probabilities,  # (B, C, P) floating point
    keys,  # (B,) int64
    stratified,
    exploration,  # float64
    maps,  # (B, K, P) uint8; written
):
    images, classes, cells = probabilities.shape
    real = probabilities.dtype.type
    kept, added = real(1.0 - exploration), real(exploration / classes)
    num_maps = maps.shape[1]
    width = 512  # cells at a time: inner loops go over cells and without branches, as vectors
    for b in numba.prange(images):
        cumulative = np.empty((classes, width), probabilities.dtype)
        states = np.empty(width, np.uint64)
        threshold = np.empty(width, probabilities.dtype)
        below = np.empty(width, np.int32)
        other = np.empty(width, np.uint32)
        key, part = np.uint64(keys[b]), np.float32(num_maps)
        for first in range(0, cells, width):
            count = min(width, cells - first)
            for q in range(count):
                states[q] = _number(key, first + q + 1)
                cumulative[0, q] = kept * probabilities[b, 0, first + q] + added
            for c in range(1, classes):
                for q in range(count):
                    mixed = kept * probabilities[b, c, first + q] + added
                    cumulative[c, q] = cumulative[c - 1, q] + mixed
            total = cumulative[classes - 1]
            tile = maps[b, :, first : first + count]
            for k in range(num_maps):
                for q in range(count):
                    place = _fraction(_number(states[q], k + 1))
                    if stratified:
                        place = min((np.float32(k) + place) / part, np.float32(_BELOW_ONE))
                    threshold[q] = place * total[q]
                    below[q] = 0
                for c in range(classes - 1):
                    edge = cumulative[c]
                    for q in range(count):
                        below[q] += edge[q] <= threshold[q]
                drawn = maps[b, k, first : first + count]
                for q in range(count):
                    drawn[q] = below[q]
            if stratified:
                for k in range(num_maps - 1, 0, -1):
                    for q in range(count):
                        share = _fraction(_number(states[q], num_maps + k + 1))
                        other[q] = np.int32(share * np.float32(k + 1))
                    last = np.uint64(k)
                    for q in range(np.uint64(count)):
                        tile[last, q], tile[other[q], q] = tile[other[q], q], tile[last, q]


def _empty_maps(probabilities, keys, num_maps: int, **_) -> torch.Tensor:
    batch, _, cells = probabilities.shape
    return torch.empty(batch, num_maps, cells, dtype=torch.uint8, device=probabilities.device)


@traceable("sample_classes", _empty_maps)
def sample_classes(
    probabilities: torch.Tensor,
    keys: torch.Tensor,
    num_maps: int,
    *,
    stratified: bool = False,
    exploration: float = 0.0,
    backend: str = "auto",
) -> torch.Tensor:
    """Draw K maps by inverting the distribution function of every cell.

    Args:
        probabilities: (B, C, P) floating point, of one sum over C in each cell (1, if there is
            exploration); C at most 256.
        keys: (B,) int64, any numbers.
        num_maps: K.
        stratified: Whether the K maps share out a cell's classes: one number is drawn in each of K
            equal parts of [0, 1), and they are dealt to the maps in random order.
        exploration: Share of uniformly random classes; see `mix_with_uniform`.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, K, P) uint8, a function of an image's key and probabilities alone.

    Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014); stratified in random order, a Latin
    hypercube (McKay et al., 1979); Fisher and Yates' shuffle (Durstenfeld, 1964).
    """
    probabilities = probabilities.detach()
    backend = choose(backend, probabilities, COMPILED)
    if backend == "reference":
        return sample_classes_reference(probabilities, keys, num_maps, stratified, exploration)
    if backend == "triton":
        from rss_agents.kernels.triton.sample_classes import sample_classes_triton

        if exploration:
            probabilities = mix_with_uniform(probabilities, exploration)
        return sample_classes_triton(probabilities, keys, num_maps, stratified)
    maps = _empty_maps(probabilities, keys, num_maps)
    _draw(len(maps), probabilities, keys, int(stratified), float(exploration), maps)
    return maps
