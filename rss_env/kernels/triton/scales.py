"""Where the scales of flat action maps lie, for kernels that go over all of them at once."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def range_of(scale, OFFSETS: tl.constexpr):
    """Where a scale's cells begin and end, of S + 1 offsets."""
    start, stop = 0, 0
    for s in tl.static_range(len(OFFSETS) - 1):
        start = tl.where(scale == s, OFFSETS[s], start)
        stop = tl.where(scale == s, OFFSETS[s + 1], stop)
    return start, stop


@triton.jit
def scale_of(p, OFFSETS: tl.constexpr):
    """The scales that cells belong to, of S + 1 offsets."""
    scale = tl.zeros_like(p)
    for s in tl.static_range(1, len(OFFSETS) - 1):
        scale += (p >= OFFSETS[s]).to(tl.int32)
    return scale


@triton.jit
def value_at(scale, VALUES: tl.constexpr):
    """What a scale, or each of several, has of S values."""
    value = scale * 0
    for s in tl.static_range(len(VALUES)):
        value = tl.where(scale == s, VALUES[s], value)
    return value
