"""The kernels of an agent's loss, as operations to be timed: an update's own sizes, K = 8."""

from __future__ import annotations

import torch

from benchmarks.timing import Operation
from rss_agents.kernels.expected_counts import expected_and_label_counts
from rss_agents.kernels.expected_scores import expected_scores
from rss_agents.kernels.label_covariance import label_covariance
from rss_agents.kernels.map_counts import map_counts
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.kernels.systematic_sample import sample_offsets, systematic_sample
from rss_agents.kernels.whitened_residuals import whitened_residuals
from rss_agents.losses.score_model_config import MetricModelConfig

_IMAGES, _CLASSES, _SIDE, _SCALES = 16, 6, 64, (8, 4, 2, 1)
_GROUPS, _MEMBERS = 8, 8  # new maps and 56 older ones
_MODEL = MetricModelConfig()
_BACKENDS = ("numba", "reference")  # the reference is also the usual way: gathers and autograd


def believing() -> list[Operation]:
    """What is asked of beliefs in an update, forward and backward."""
    offsets = (0, 64, 320, 1344, 5440)
    number = _GROUPS * _MEMBERS
    pixels = torch.randn(_IMAGES, _CLASSES, _SIDE, _SIDE).softmax(1)
    beliefs = pool_cells(pixels, _SCALES)
    maps = torch.randint(0, _CLASSES, (_IMAGES, number, offsets[-1]), dtype=torch.uint8)
    predicted = map_counts(maps, offsets, _CLASSES)
    right, labelled = expected_and_label_counts(beliefs, maps, offsets)
    _, hits, others = expected_scores(right, predicted, labelled, "miou", _MODEL.presence_share)
    starts = torch.rand(_IMAGES, len(_SCALES))
    drawn = systematic_sample(
        torch.rand(_IMAGES, offsets[-1]),
        starts,
        offsets,
        _MODEL.covariance_cells,
        _MODEL.uniform_share,
    )
    places = sample_offsets(offsets, _MODEL.covariance_cells)
    covariance = label_covariance(beliefs, maps, hits, others, places, *drawn)
    covariance = covariance.transpose(0, 1).flatten(0, 1)
    problems = _IMAGES * len(_SCALES)
    residuals, noise = torch.randn(problems, number), 0.1 + torch.rand(problems, number)
    present, free = noise > 0, torch.full((problems,), torch.inf)

    def pool(backend: str) -> None:
        leaf = pixels.clone().requires_grad_()
        pool_cells(leaf, _SCALES, backend=backend).backward(beliefs)

    def count(backend: str) -> None:
        leaf = beliefs.clone().requires_grad_()
        found = expected_and_label_counts(leaf, maps, offsets, backend=backend)
        torch.autograd.backward(found, (right, labelled))

    def score(backend: str) -> None:
        leaf = right.clone().requires_grad_()
        scores = expected_scores(
            leaf, predicted, labelled, "miou", _MODEL.presence_share, backend=backend
        )[0]
        scores.sum().backward()

    def vary_together(backend: str) -> None:
        label_covariance(beliefs, maps, hits, others, places, *drawn, backend=backend)

    def whiten(backend: str) -> None:
        given = (residuals, covariance, noise, present, _MEMBERS, free)
        whitened_residuals(*given, backend=backend)

    cells = maps.numel()
    asked = (
        ("pooled cells, with gradient", "pixels", pixels.numel(), 16, pool),
        ("expected counts, with gradient", "cells", cells, 2, count),
        ("expected scores, with gradient", "classes", right.numel(), 20, score),
        ("covariances", "cells", _IMAGES * number * places[-1], 1, vary_together),
        ("whitened residuals", "scores", residuals.numel(), 4 * number, whiten),
    )
    operations = []
    for name, unit, units, size, run in asked:
        ways = {
            backend: (lambda run=run, backend=backend: run(backend), units) for backend in _BACKENDS
        }
        operations.append(Operation(f"{name}, {_IMAGES} images", unit, size, ways))
    return operations
