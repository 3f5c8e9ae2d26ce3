"""K classes for every cell, drawn by counters: the CUDA backend of `sample_classes`, bit for bit.

Sums run over the classes in order and divisions are true ones, so that every threshold is rounded
as on the CPU; the random numbers are integers (SplitMix64).
"""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import block_beside, launch, padded

_GAMMA = tl.constexpr(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = tl.constexpr(0xBF58476D1CE4E5B9), tl.constexpr(0x94D049BB133111EB)
_BELOW_ONE = tl.constexpr(1.0 - 2.0**-24)  # the largest float32 below 1


@triton.jit
def _number(state, count):
    """Numbers `count` (from 1) of the SplitMix64 streams of states, as 64 bits."""
    bits = state + count.to(tl.uint64) * _GAMMA
    bits = (bits ^ (bits >> 30)) * _MIX1
    bits = (bits ^ (bits >> 27)) * _MIX2
    return bits ^ (bits >> 31)


@triton.jit
def _fraction(bits):
    """The top 24 bits as a number in [0, 1)."""
    return (bits >> 40).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08  # 2**-24


@triton.jit
def draw_classes(
    probabilities,  # (B, C, P) floating point
    keys,  # (B,) int64
    maps,  # (B, K, P) uint8; written
    cells,
    num_classes,
    STRATIFIED: tl.constexpr,
    NUM_MAPS: tl.constexpr,  # K
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Draw K classes for each of a block of an image's cells."""
    b = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    k = tl.arange(0, PADDED)[:, None]
    inside = p < cells
    key = tl.load(keys + b).to(tl.uint64, bitcast=True)
    state = _number(key, p + 1)
    place = _fraction(_number(state[None, :], k + 1))
    if STRATIFIED:
        strata = tl.full((PADDED, BLOCK), NUM_MAPS, tl.float32)
        place = tl.minimum(tl.div_rn(k.to(tl.float32) + place, strata), _BELOW_ONE)
    first = probabilities + b * num_classes * cells + p
    total = tl.load(first, mask=inside, other=0.0)
    for c in range(1, num_classes):
        total += tl.load(first + c * cells, mask=inside, other=0.0)
    thresholds = place.to(total.dtype) * total[None, :]
    below = tl.zeros((PADDED, BLOCK), tl.int32)
    edge = tl.load(first, mask=inside, other=0.0)
    for c in range(1, num_classes):
        below += (edge[None, :] <= thresholds).to(tl.int32)
        edge += tl.load(first + c * cells, mask=inside, other=0.0)
    if STRATIFIED:
        for dealt in range(1, NUM_MAPS):  # Fisher and Yates' shuffle, of a column in registers
            last = tl.zeros((BLOCK,), tl.int32) + (NUM_MAPS - dealt)
            share = _fraction(_number(state, last + (NUM_MAPS + 1)))
            other = (share * (last + 1).to(tl.float32)).to(tl.int32)
            is_last, is_other = k == last[None, :], k == other[None, :]
            at_last = tl.sum(tl.where(is_last, below, 0), 0)
            at_other = tl.sum(tl.where(is_other, below, 0), 0)
            below = tl.where(is_other, at_last[None, :], below)
            below = tl.where(is_last, at_other[None, :], below)
    target = maps + (b * NUM_MAPS + k) * cells + p[None, :]
    tl.store(target, below.to(tl.uint8), mask=(k < NUM_MAPS) & inside[None, :])


def tile_of(num_maps: int) -> dict[str, int]:
    """The constants that K decides."""
    side = padded(num_maps)
    return {"NUM_MAPS": num_maps, "PADDED": side, "BLOCK": min(block_beside(side), 128)}


def sample_classes_triton(
    probabilities: torch.Tensor, keys: torch.Tensor, num_maps: int, stratified: bool
) -> torch.Tensor:
    """The classes by inverting the distribution functions of a tile of cells; as `sample_classes`.

    Probabilities are float32 or float64.
    """
    batch, num_classes, cells = probabilities.shape
    maps = torch.empty(batch, num_maps, cells, dtype=torch.uint8, device=probabilities.device)
    constants = tile_of(num_maps)
    launch(
        draw_classes,
        (batch, triton.cdiv(cells, constants["BLOCK"])),
        *(probabilities, keys, maps, cells, num_classes),
        STRATIFIED=stratified,
        **constants,
    )
    return maps
