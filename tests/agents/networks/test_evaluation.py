"""Metrics of a split, by hand."""

from __future__ import annotations

import pytest
import torch

from rss_agents.networks import evaluation
from rss_env.errors import InputError


def test_metrics_of_a_split_by_hand():
    metrics = evaluation.metrics_from_counts(
        torch.tensor([6, 0, 3, 0]), torch.tensor([8, 2, 4, 0]), torch.tensor([9, 0, 5, 0])
    )
    assert metrics.class_iou[0] == pytest.approx(6 / 11)
    assert metrics.class_iou[1] is None  # predicted, but it does not occur
    assert metrics.miou == pytest.approx((6 / 11 + 3 / 6) / 2)
    assert metrics.pixel_accuracy == pytest.approx(9 / 14)
    with pytest.raises(InputError, match="no valid pixel"):
        evaluation.metrics_from_counts(*torch.zeros(3, 4, dtype=torch.int64))
