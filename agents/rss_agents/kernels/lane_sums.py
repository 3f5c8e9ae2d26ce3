"""Sums whose order is written down, and that processors take as vectors nevertheless.

A compiler that may reorder a sum (numba's `fastmath`) makes vectors of it as it sees fit, and not
twice alike: numba's code for a parallel loop rounds otherwise in the process that compiles it than
in those that load it from the cache. So terms are added to lanes side by side, which need no leave,
and the lanes are then added up in one order.
"""

from __future__ import annotations

from rss_env.compiled import compiled

PARTS = 4  # of the lanes, each as wide as a vector: so many sums need not wait for one another


@compiled(inline="always")
def sum_of_halves(
    lanes,  # (>= width,) floating point, changed
    width,  # a power of 2
):
    """The first `width` lanes, their halves added to each other until one is left."""
    half = width // 2
    while half > 0:
        for j in range(half):
            lanes[j] += lanes[half + j]
        half //= 2
    return lanes[0]


@compiled(inline="always")
def sum_of_parts(
    lanes,  # (4 * width,) floating point, changed
    width,  # a power of 2
):
    """All lanes: their four parts in pairs, then what is left by halves."""
    for j in range(width):
        pair = lanes[j] + lanes[width + j]
        lanes[j] = pair + (lanes[2 * width + j] + lanes[3 * width + j])
    return sum_of_halves(lanes, width)
