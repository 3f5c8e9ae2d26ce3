"""The share of each cell's label in the variance of scores: the CUDA backend."""

# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# (what is compiled is Triton, and not all of it type-checks as Python)

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from rss_env.kernels.triton.launching import launch
from rss_env.kernels.triton.scales import scale_of

BLOCK = 256  # cells of a program


@triton.jit
def weigh_variances(
    probabilities,  # (B, C, P) floating point
    weights,  # (B, S, C) floating point
    result,  # (B, P) floating point; written
    cells,
    num_classes,
    OFFSETS: tl.constexpr,  # S + 1: where each scale's cells begin
    BLOCK: tl.constexpr,
):
    """Add up the weighed variances of a block of an image's cells."""
    b = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = p < cells
    weight_of = weights + (b * (len(OFFSETS) - 1) + scale_of(p, OFFSETS)) * num_classes
    total = tl.zeros((BLOCK,), result.dtype.element_ty)
    for c in range(num_classes):
        rate = tl.load(probabilities + (b * num_classes + c) * cells + p, mask=inside, other=0.0)
        total += tl.load(weight_of + c, mask=inside, other=0.0) * (rate - rate * rate)
    tl.store(result + b * cells + p, total, mask=inside)


def cell_uncertainty_triton(
    probabilities: torch.Tensor, weights: torch.Tensor, offsets: Sequence[int]
) -> torch.Tensor:
    """The sums over classes, cell by cell; as `cell_uncertainty`."""
    batch, num_classes, cells = probabilities.shape
    result = probabilities.new_empty(batch, cells)
    launch(
        weigh_variances,
        (batch, triton.cdiv(cells, BLOCK)),
        *(probabilities, weights, result, cells, num_classes),
        OFFSETS=tuple(offsets),
        BLOCK=BLOCK,
    )
    return result
