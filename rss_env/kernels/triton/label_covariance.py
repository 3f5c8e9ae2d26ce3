"""How functions of an unknown label map vary together: the CUDA face of `label_covariance`."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.expected_counts import expected_counts_triton
from rss_env.kernels.triton.launching import launch

ROW = 256  # cells of a program that weighs them
SIDE = 32  # maps of a tile
CHUNK = 512  # cells of a program that adds them up
AT_ONCE = 4  # of them, so that loads overlap


@triton.jit
def weigh_hits(
    probabilities,  # (B, C, P) floating point
    maps,  # (B, N, P) uint8
    hit_weights,  # (B, N, C) floating point
    means,  # (B, N, P) floating point; written: the mean of what each cell gives by a hit
    roots,  # (B, P, N) floating point; written: weight times the root of the probability
    turned,  # (B, P, N) uint8; written: the maps
    members,
    cells,
    num_classes,
    BLOCK: tl.constexpr,
):
    """Look up what a block of a map's cells gives by a hit."""
    n = tl.program_id(0).to(tl.int64)
    b = n // members
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < cells
    choice = tl.load(maps + n * cells + p, mask=inside, other=0)
    c = choice.to(tl.int32)
    rate = tl.load(probabilities + (b * num_classes + c) * cells + p, mask=inside, other=0.0)
    weight = tl.load(hit_weights + n * num_classes + c, mask=inside, other=0.0)
    tl.store(means + n * cells + p, weight * rate, mask=inside)
    place = (b * cells + p) * members + n % members
    tl.store(roots + place, weight * tl.sqrt(rate), mask=inside)
    tl.store(turned + place, choice, mask=inside)


@triton.jit
def add_shared_hits(
    roots,  # (B, P, N) floating point
    turned,  # (B, P, N) uint8
    parts,  # (B, T, N, N) floating point; written: sums over each of T parts of the cells
    members,
    cells,
    num_parts,
    tiles,  # along a side of (N, N)
    SIDE: tl.constexpr,
    CHUNK: tl.constexpr,
    AT_ONCE: tl.constexpr,
):
    """Add up, over a chunk of cells, what two sets of maps hit together."""
    b, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    k = tl.program_id(2) // tiles * SIDE + tl.arange(0, SIDE)
    j = tl.program_id(2) % tiles * SIDE + tl.arange(0, SIDE)
    sums = tl.zeros((SIDE, SIDE), roots.dtype.element_ty)
    for start in range(part * CHUNK, min(part * CHUNK + CHUNK, cells), AT_ONCE):
        for step in tl.static_range(AT_ONCE):
            p = start + step
            row = (b * cells + p) * members
            has_k, has_j = (k < members) & (p < cells), (j < members) & (p < cells)
            one = tl.load(turned + row + k, mask=has_k, other=0)
            other = tl.load(turned + row + j, mask=has_j, other=0)
            mine = tl.load(roots + row + k, mask=has_k, other=0.0)
            theirs = tl.load(roots + row + j, mask=has_j, other=0.0)
            shared = mine[:, None] * theirs[None, :]
            sums += tl.where(one[:, None] == other[None, :], shared, 0.0)
    target = parts + ((b * num_parts + part) * members + k[:, None]) * members + j[None, :]
    tl.store(target, sums, mask=(k < members)[:, None] & (j < members)[None, :])


def label_covariance_triton(
    probabilities: torch.Tensor,
    maps: torch.Tensor,
    hit_weights: torch.Tensor,
    class_weights: torch.Tensor,
) -> torch.Tensor:
    """The covariance from second moments of hits, and products for the rest.

    As `label_covariance`: (B, C, P), (B, N, P), (B, N, C) twice, to (B, N, N).
    """
    batch, members, cells = maps.shape
    num_classes = probabilities.shape[1]
    means = probabilities.new_empty(maps.shape)
    roots = probabilities.new_empty(batch, cells, members)
    turned = maps.new_empty(batch, cells, members)
    launch(
        weigh_hits,
        (batch * members, triton.cdiv(cells, ROW)),
        *(probabilities, maps, hit_weights, means, roots, turned, members, cells, num_classes),
        BLOCK=ROW,
    )
    num_parts, tiles = triton.cdiv(cells, CHUNK), triton.cdiv(members, SIDE)
    parts = probabilities.new_empty(batch, num_parts, members, members)
    launch(
        add_shared_hits,
        (batch, num_parts, tiles * tiles),
        *(roots, turned, parts, members, cells, num_parts, tiles),
        **{"SIDE": SIDE, "CHUNK": CHUNK, "AT_ONCE": AT_ONCE},
    )
    # What the class weights share with the hits, and among themselves, is a matter of counts.
    right = expected_counts_triton(probabilities, maps, (0, cells))[:, :, 0]
    mixed = torch.bmm(right * hit_weights, class_weights.mT)
    alone = torch.bmm(class_weights * probabilities.sum(2)[:, None], class_weights.mT)
    means = torch.baddbmm(means, class_weights, probabilities)
    return parts.sum(1) + mixed + mixed.mT + alone - torch.bmm(means, means.mT)
