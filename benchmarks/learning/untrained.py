"""Rows that nobody has to train for: chance, the most frequent class, and the best map there is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rss_agents.networks.evaluation import (
    SplitMetrics,
    count_maps,
    evaluate_majority_class,
    metrics_from_counts,
)
from rss_env.scenes import Scenes
from rss_env.split_pass import best_maps


def _metrics_of(maps: torch.Tensor, scenes: Scenes) -> SplitMetrics:
    """Metrics of class maps (M, H, W) of all scenes."""
    assert scenes.labels is not None
    assert scenes.class_pixels is not None
    right, predicted = count_maps(maps.to(torch.uint8), scenes.labels, scenes.num_classes)
    return metrics_from_counts(right, predicted, scenes.class_pixels.long())


def untrained_rows(
    training: Scenes, validation: Scenes, scales: Sequence[int]
) -> dict[str, SplitMetrics]:
    """Metrics on the validation scenes, by name of the row."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(validation), *validation.image_size)
    rows = {
        "random": _metrics_of(
            torch.randint(0, validation.num_classes, shape, generator=generator), validation
        ),
        "majority": evaluate_majority_class(training, validation),
    }
    for scale in reversed(scales):
        rows[f"oracle, scale {scale}"] = _metrics_of(best_maps(validation, scale), validation)
    return rows
