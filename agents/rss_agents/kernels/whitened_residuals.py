"""Residuals of scores that err together, weighed by the inverse of their covariance.

The heart of generalised least squares: many small linear systems, one for each image and scale.
"""

from __future__ import annotations

import numba
import numpy as np
import torch

from rss_agents.kernels.lane_sums import PARTS, sum_of_halves, sum_of_parts
from rss_env.compiled import compiled
from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable

_AT_ONCE = 4  # rows eliminated together, so that a row below them is moved once for all
_VECTOR = 4
_LANES = PARTS * _VECTOR  # of a sum; see `lane_sums`


def whitened_residuals_reference(
    residuals: torch.Tensor,
    covariance: torch.Tensor,
    noise: torch.Tensor,
    present: torch.Tensor,
    group_size: int,
    offset: torch.Tensor | None,
) -> torch.Tensor:
    """The solution by factors and solvers of torch, of all systems at once."""
    there = present.double()
    total = covariance * there[:, :, None] * there[:, None]
    # A score that is not there has residual 0, and a variance that keeps the sum positive.
    total.diagonal(dim1=1, dim2=2).add_(noise * there + (1 - there))
    # (Without a check of the result, for which a host would have to wait for its device.)
    factor = torch.linalg.cholesky_ex(total).L
    known = (residuals.double() * there)[..., None]
    if offset is None:
        return torch.cholesky_solve(known, factor)[..., 0]
    groups = residuals.shape[1] // group_size
    indicator = torch.eye(groups, dtype=total.dtype, device=total.device)
    indicator = indicator.repeat_interleave(group_size, 0) * there[..., None]
    solved = torch.cholesky_solve(torch.cat([known, indicator], 2), factor)
    whitened, spread = solved[..., :1], solved[..., 1:]
    precision = indicator.mT @ spread
    absent = (precision.diagonal(dim1=1, dim2=2) == 0).double()
    precision = precision + (1 / offset.double()[:, None] + absent).diag_embed()
    common = torch.linalg.solve_ex(precision, indicator.mT @ whitened).result
    return (whitened - spread @ common)[..., 0]


@compiled()
def _eliminate(
    work,  # (M, N) floating point: the upper half of a symmetric matrix, and right-hand sides
    ends,  # (M,) int64, increasing, where the right-hand sides of each row end: zeros follow
):
    """The upper Cholesky factor in place, and the right-hand sides divided by its transpose."""
    count = len(work)
    for first in range(0, count, _AT_ONCE):
        stop = min(first + _AT_ONCE, count)
        end = np.uint64(ends[stop - 1])  # unsigned, as no index is below 0: loops become vectors
        for p in range(first, stop):
            pivot = work[p]
            inverse = 1 / np.sqrt(pivot[p])
            for k in range(np.uint64(p), end):
                pivot[k] *= inverse
            for i in range(p + 1, stop):
                factor, row = pivot[i], work[i]
                for k in range(np.uint64(i), end):
                    row[k] -= factor * pivot[k]
        if stop < first + _AT_ONCE:
            return
        pivot0, pivot1 = work[first], work[first + 1]
        pivot2, pivot3 = work[first + 2], work[first + 3]
        for i in range(np.uint64(stop), np.uint64(count)):
            row = work[i]
            factor0, factor1, factor2, factor3 = pivot0[i], pivot1[i], pivot2[i], pivot3[i]
            for k in range(i, end):
                taken = factor0 * pivot0[k] + factor1 * pivot1[k]
                row[k] -= taken + factor2 * pivot2[k] + factor3 * pivot3[k]


@compiled()
def _back_substitute(
    factor,  # (M, >= M) floating point, upper triangular
    values,  # (M,) floating point, divided in place
    lanes,  # (_LANES,) floating point; changed
):
    count = len(values)
    for i in range(count - 1, -1, -1):
        row, first, known = factor[i, i + 1 : count], values[i + 1 :], 0.0
        n = len(first)
        rounds = n // _LANES * _LANES
        if rounds:
            lanes[:] = 0
            for q in range(0, rounds, _LANES):
                for j in range(_LANES):
                    lanes[j] += row[q + j] * first[q + j]
            known = sum_of_parts(lanes, _VECTOR)
        if n - rounds >= _VECTOR:
            lanes[:_VECTOR] = 0
            lanes[0] = known
            for q in range(rounds, n - _VECTOR + 1, _VECTOR):
                for j in range(_VECTOR):
                    lanes[j] += row[q + j] * first[q + j]
            known = sum_of_halves(lanes, _VECTOR)
        for q in range(n // _VECTOR * _VECTOR, n):
            known += row[q] * first[q]
        values[i] = (values[i] - known) / factor[i, i]


@BatchLoop
def _whiten(
    residuals,  # (B, N) floating point
    covariance,  # (B, N, N) floating point
    noise,  # (B, N) floating point
    present,  # (B, N) bool
    group_size,
    offset,  # (B,) floating point, or (0,) for none
    result,  # (B, N) float64; written
):
    groups = residuals.shape[1] // group_size
    for n in numba.prange(len(residuals)):
        rows = np.nonzero(present[n])[0]
        count = len(rows)
        # Beside the matrix stand the residuals, and for each group which rows are its own.
        work, lanes = np.zeros((count, count + 1 + groups)), np.empty(_LANES)
        ends = np.full(count, count + 1)
        for r in range(count):
            own, group = covariance[n, rows[r]], rows[r] // group_size
            for j in range(np.uint64(r), np.uint64(count)):
                work[r, j] = own[np.uint64(rows[j])]
            work[r, r] += noise[n, rows[r]]
            work[r, count] = residuals[n, rows[r]]
            if offset.size:
                work[r, count + 1 + group] = 1
                ends[r] += group + 1
        _eliminate(work, ends)
        solved = work[:, count].copy()
        if offset.size:
            # The precision of what groups have in common, beside what they say of it.
            precision = np.zeros((groups, groups + 1))
            for r in range(count):
                own = work[r, count + 1 : ends[r]]
                for g in range(len(own)):
                    for h in range(g, len(own)):
                        precision[g, h] += own[g] * own[h]
                    precision[g, groups] += own[g] * solved[r]
            for g in range(groups):
                precision[g, g] += 1 / offset[n]
                if precision[g, g] == 0:
                    precision[g, g] = 1  # of a group that is not there
            _eliminate(precision, np.full(groups, groups + 1))
            common = precision[:, groups].copy()
            _back_substitute(precision, common, lanes)
            for r in range(count):
                for g in range(ends[r] - count - 1):
                    solved[r] -= work[r, count + 1 + g] * common[g]
        _back_substitute(work, solved, lanes)
        result[n] = 0
        for r in range(count):
            result[n, rows[r]] = solved[r]


def _empty_residuals(residuals, *_, **__) -> torch.Tensor:
    return residuals.new_empty(residuals.shape, dtype=torch.float64)


@traceable("whitened_residuals", _empty_residuals)
def whitened_residuals(
    residuals: torch.Tensor,
    covariance: torch.Tensor,
    noise: torch.Tensor,
    present: torch.Tensor,
    group_size: int,
    offset: torch.Tensor | None = None,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Solve for residuals whose covariance is known, in float64.

    Args:
        residuals: (B, N) floating point, of groups of K.
        covariance: (B, N, N) floating point, positive semi-definite.
        noise: (B, N) floating point, variance added to each; positive.
        present: (B, N) bool; a residual that is not there says nothing.
        group_size: K; N is a multiple of it.
        offset: (B,) floating point, variance of what a group has in common, infinite for anything;
            None for none.
        backend: `auto`, `reference`, `numba` or `triton` (the reference beyond 64 scores).

    Returns:
        (B, N) float64, the inverse of the covariances' sum times the residuals; 0 where there is
        none. Not differentiable.

    Source: generalised least squares (Aitken, 1936), with random or free intercepts of groups.
    """
    residuals, covariance, noise = residuals.detach(), covariance.detach(), noise.detach()
    backend = choose(backend, residuals, COMPILED)
    offset = None if offset is None else offset.detach()
    system = (residuals, covariance, noise, present, group_size, offset)
    if backend == "triton":
        from rss_agents.kernels.triton.whitened_residuals import (
            MOST_SCORES,
            whitened_residuals_triton,
        )

        if residuals.shape[1] <= MOST_SCORES:
            return whitened_residuals_triton(*system)
        backend = "reference"
    if backend == "reference":
        return whitened_residuals_reference(*system)
    result = _empty_residuals(residuals)
    offset = residuals.new_empty(0) if offset is None else offset
    _whiten(len(residuals), residuals, covariance, noise, present, group_size, offset, result)
    return result
