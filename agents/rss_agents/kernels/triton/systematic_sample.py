"""Cells drawn by their importance: the CUDA backend of `systematic_sample`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import ROW, launch
from rss_env.kernels.triton.scales import range_of

LANES = 256  # cells drawn by a program
_TINY = tl.constexpr(1e-20)  # importance that is none


@triton.jit
def add_up_importance(
    importance,  # (B, P) floating point
    places,  # (B, P) float64; written: running sums of the cells' probabilities at each scale
    totals,  # (B, S) float64; written: importance of a scale
    cells,
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    UNIFORM_SHARE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add up the importance of an image's cells at one scale, then their probabilities."""
    b, scale = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = range_of(scale, OFFSETS)
    lane = tl.arange(0, BLOCK)
    own, size = importance + b * cells, (stop - start).to(tl.float64)
    sums = tl.zeros((BLOCK,), tl.float64)
    for first in range(start, stop, BLOCK):
        p = first + lane
        sums += tl.load(own + p, mask=p < stop, other=0.0).to(tl.float64)
    total = tl.maximum(tl.sum(sums, 0), _TINY)
    tl.store(totals + b * (len(OFFSETS) - 1) + scale, total)
    before = tl.zeros((BLOCK,), tl.float64)
    for first in range(start, stop, BLOCK):
        p = first + lane
        rate = tl.load(own + p, mask=p < stop, other=0.0).to(tl.float64)
        probability = (1 - UNIFORM_SHARE) * rate / total + UNIFORM_SHARE / size
        place = before + tl.cumsum(tl.where(p < stop, probability, 0.0), 0)
        tl.store(places + b * cells + p, place, mask=p < stop)
        before = tl.zeros((BLOCK,), tl.float64) + tl.sum(tl.where(lane == BLOCK - 1, place, 0.0), 0)


@triton.jit
def search_places(
    importance,  # (B, P) floating point
    places,  # (B, P) float64
    totals,  # (B, S) float64
    starts,  # (B, S) floating point
    drawn,  # (B, M) int64; written
    counts,  # (B, M) floating point; written
    cells,
    sampled,  # M
    rounds,  # that halve the largest scale until one cell is left
    OFFSETS: tl.constexpr,  # S + 1
    SAMPLED: tl.constexpr,  # S + 1, offsets in the sample
    MOST: tl.constexpr,
    UNIFORM_SHARE: tl.constexpr,
    LANES: tl.constexpr,
):
    """Search a scale's running sums for some of its steps; or take the scale whole."""
    b, scale = tl.program_id(0).to(tl.int64), tl.program_id(1)
    start, stop = range_of(scale, OFFSETS)
    first, end = range_of(scale, SAMPLED)
    i = tl.program_id(2) * LANES + tl.arange(0, LANES)
    there = i < end - first
    row, size = b * cells + start, stop - start
    last = tl.load(places + row + size - 1)
    begin = tl.load(starts + b * (len(OFFSETS) - 1) + scale).to(tl.float64)
    step = (i.to(tl.float64) + begin) * (last / MOST)
    low = tl.zeros((LANES,), tl.int32)
    high = low + (size - 1)
    for _ in range(rounds):
        middle = (low + high) // 2
        below = tl.load(places + row + middle, mask=there, other=0.0) < step
        low = tl.where(below & (low < high), middle + 1, low)
        high = tl.where(below, high, middle)
    own = tl.load(importance + row + low, mask=there, other=0.0).to(tl.float64)
    total = tl.load(totals + b * (len(OFFSETS) - 1) + scale)
    probability = (1 - UNIFORM_SHARE) * own / total + UNIFORM_SHARE / size.to(tl.float64)
    is_whole = size <= MOST
    count = tl.where(is_whole, 1.0, last / (MOST * probability))
    place = b * sampled + first + i
    tl.store(drawn + place, (start + tl.where(is_whole, i, low)).to(tl.int64), mask=there)
    tl.store(counts + place, count.to(counts.dtype.element_ty), mask=there)


def systematic_sample_triton(
    importance: torch.Tensor,
    starts: torch.Tensor,
    offsets: Sequence[int],
    sampled: Sequence[int],
    most: int,
    uniform_share: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw by searching running sums in float64; as `systematic_sample`.

    Scales of the sample begin at `sampled`, as `sample_offsets` says.
    """
    batch, cells = importance.shape
    num_scales, size = len(offsets) - 1, sampled[-1]
    places = importance.new_empty(batch, cells, dtype=torch.float64)
    totals = importance.new_empty(batch, num_scales, dtype=torch.float64)
    drawn = importance.new_empty(batch, size, dtype=torch.int64)
    counts = importance.new_empty(batch, size)
    constants: dict[str, Any] = {"OFFSETS": tuple(offsets), "UNIFORM_SHARE": float(uniform_share)}
    launch(
        add_up_importance,
        (batch, num_scales),
        *(importance, places, totals, cells),
        **constants,
        BLOCK=ROW,
    )
    largest = max(stop - start for start, stop in pairwise(offsets))
    launch(
        search_places,
        (batch, num_scales, triton.cdiv(min(most, largest), LANES)),
        *(importance, places, totals, starts, drawn, counts),
        *(cells, size, largest.bit_length()),
        **constants,
        SAMPLED=tuple(sampled),
        MOST=most,
        LANES=LANES,
    )
    return drawn, counts
