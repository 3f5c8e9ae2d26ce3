"""Advantages of K action maps of one image over each other, as pure functions.

Beside these stand `kernels.pairwise_difference`, our reading of the paper's PSD, and
`losses.advantage_unit`, our reading of its SyncAN, synchronised advantage normalisation.
"""

from __future__ import annotations

import torch

from rss_agents.distributed import sum_over_ranks

_ROUNDING = 1e-7  # of float32 scores in 0..1


def leave_one_out(scores: torch.Tensor) -> torch.Tensor:
    """Each score minus the mean of the other K - 1.

    Args:
        scores: (B, K, ...) scores of K maps for each image.

    Returns:
        The same shape; sums to zero over K.

    Source: the RLOO estimator (Kool et al., "Buy 4 REINFORCE samples, get a baseline for free!",
    2019).
    """
    group_size = scores.shape[1]
    return (scores - scores.mean(1, keepdim=True)) * (group_size / (group_size - 1))


def synchronised_deviation(
    values: torch.Tensor, active: torch.Tensor | None = None
) -> torch.Tensor:
    """Root mean square of values over the global batch.

    The values are centred already (advantages, or scores less their group's mean), so their mean
    is not subtracted again: cells without an advantage stay at zero.

    Args:
        values: Any shape.
        active: Which values count; all of them if None.

    Returns:
        A positive scalar tensor; infinite if the values are zero to rounding (1e-7), so that a
        batch whose maps all score alike weighs nothing. One all-reduce of (count, sum of squares)
        over the ranks.
    """
    counted = torch.ones_like(values) if active is None else active.to(values.dtype)
    moments = torch.stack([counted.sum(), (values.square() * counted).sum()]).double()
    count, squares = sum_over_ranks(moments).unbind()
    deviation = (squares / count.clamp(min=1)).sqrt().to(values.dtype)
    return torch.where(deviation > _ROUNDING, deviation, torch.inf)
