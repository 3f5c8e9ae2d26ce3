"""Residuals of scores that err together, by elimination: the CUDA backend."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import launch, padded

MOST_SCORES = 64  # a system lies in the registers of one program


@triton.jit
def eliminate(
    residuals,  # (B, N) floating point
    covariance,  # (B, N, N) floating point
    noise,  # (B, N) floating point
    present,  # (B, N) bool
    offset,  # (B,) floating point, if there is one
    result,  # (B, N) float64; written
    count,  # N
    group_size,
    groups,  # whose offsets are unknown too; 0 without one
    WITH_OFFSET: tl.constexpr,
    SIDE: tl.constexpr,
    SIDES: tl.constexpr,  # of right-hand sides: groups, then the residuals
):
    """Solve one system by Gauss and Jordan's elimination, which needs no pivots here."""
    b = tl.program_id(0).to(tl.int64)
    own = tl.arange(0, SIDE)
    i, j, side = own[:, None], own[None, :], tl.arange(0, SIDES)[None, :]
    there_i = tl.load(present + b * count + i, mask=i < count, other=0).to(tl.int32) != 0
    there_j = tl.load(present + b * count + j, mask=j < count, other=0).to(tl.int32) != 0
    # A score that is not there has residual 0, and a variance that keeps the sum positive.
    variance = tl.load(noise + b * count + i, mask=there_i, other=1.0).to(tl.float64)
    residual = tl.load(residuals + b * count + i, mask=there_i, other=0.0).to(tl.float64)
    place = (b * count + i) * count + j
    work = tl.load(covariance + place, mask=there_i & there_j, other=0.0).to(tl.float64)
    work += tl.where(i == j, variance, 0.0)
    is_own = (side < groups) & (side == i // group_size) & there_i
    right = tl.where(is_own, 1.0, tl.where(side == groups, residual, 0.0))
    for k in range(count):
        row = tl.sum(tl.where(i == k, work, 0.0), 0)[None, :]
        known = tl.sum(tl.where(i == k, right, 0.0), 0)[None, :]
        column = tl.sum(tl.where(j == k, work, 0.0), 1)[:, None]
        pivot = tl.sum(tl.where(j == k, row, 0.0), 1)[:, None]
        work = tl.where(i == k, row / pivot, work - column * (row / pivot))
        right = tl.where(i == k, known / pivot, right - column * (known / pivot))
    solved = tl.sum(tl.where(side == groups, right, 0.0), 1)
    if WITH_OFFSET:
        # The precision of what groups have in common, beside what they say of it.
        g = tl.arange(0, SIDES)[:, None]
        precision = tl.zeros((SIDES, SIDES), tl.float64)
        for k in range(groups):
            told = tl.sum(tl.where((i // group_size == k) & there_i, right, 0.0), 0)[None, :]
            precision = tl.where(g == k, told, precision)
        diagonal = tl.sum(tl.where(g == side, precision, 0.0), 1)[:, None]
        absent = tl.where(diagonal == 0, 1.0, 0.0)
        added = 1 / tl.load(offset + b).to(tl.float64) + absent
        precision += tl.where((g == side) & (g < groups), added, 0.0)
        for k in range(groups):
            row = tl.sum(tl.where(g == k, precision, 0.0), 0)[None, :]
            column = tl.sum(tl.where(side == k, precision, 0.0), 1)[:, None]
            row = row / tl.sum(tl.where(side == k, row, 0.0), 1)[:, None]
            precision = tl.where(g == k, row, precision - column * row)
        for k in range(groups):
            spread = tl.sum(tl.where(side == k, right, 0.0), 1)
            common = tl.sum(tl.where((g == k) & (side == groups), precision, 0.0), 1)
            solved = solved - spread * tl.sum(common, 0)
    is_there = tl.load(present + b * count + own, mask=own < count, other=0).to(tl.int32) != 0
    tl.store(result + b * count + own, tl.where(is_there, solved, 0.0), mask=own < count)


def warps_of(side: int) -> int:
    """How many warps share the elements of a system: each thread has 16, in float64."""
    return max(1, side * side // (32 * 16))


def whitened_residuals_triton(
    residuals: torch.Tensor,
    covariance: torch.Tensor,
    noise: torch.Tensor,
    present: torch.Tensor,
    group_size: int,
    offset: torch.Tensor | None,
) -> torch.Tensor:
    """Solve systems of at most 64 scores, each in one program; as `whitened_residuals`."""
    batch, count = residuals.shape
    result = residuals.new_empty(batch, count, dtype=torch.float64)
    groups, side = 0 if offset is None else count // group_size, padded(count)
    launch(
        eliminate,
        (batch,),
        *(residuals, covariance, noise, present, residuals if offset is None else offset, result),
        *(count, group_size, groups),
        warps=warps_of(side),
        WITH_OFFSET=offset is not None,
        SIDE=side,
        SIDES=padded(groups + 1),
    )
    return result
