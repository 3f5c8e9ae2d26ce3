"""What label-based scorers are made of: counts of pixels, and of pixels on outlines."""

from __future__ import annotations

import torch

from rss_env.kernels.score_maps import class_counts
from rss_env.labels import VOID
from rss_env.scenes import count_classes

_LARGE = 64  # classes at most: a pixel's set of classes is a 64-bit number


def count_by_class(classes: torch.Tensor, counted: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Count pixels of each class, where they count.

    Args:
        classes: (..., H, W) integers; those of VOID never count.
        counted: Bool, broadcast to the same shape.
        num_classes: C.

    Returns:
        (..., C) int64.
    """
    shape = classes.shape[:-2]
    values = torch.where(counted & (classes != VOID), classes.long(), num_classes).flatten(-2)
    counts = torch.zeros(*shape, num_classes + 1, dtype=torch.int64)
    counts.scatter_add_(-1, values, torch.ones_like(values))
    return counts[..., :num_classes]


def confusion(
    maps: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True positives, predicted and labelled pixels of maps (G, K, H, W): (G, K, C) each."""
    index = torch.arange(len(maps))
    none_mirrored, columns = torch.zeros_like(index, dtype=torch.bool), maps.shape[3]
    counts = class_counts(
        maps.flatten(2), labels.flatten(1), index, none_mirrored, columns, num_classes
    )
    right, predicted = counts.long().unbind(2)
    return right, predicted, count_classes(labels, num_classes)[:, None].expand_as(right)


def outlines(maps: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """The pixels (..., H, W) whose class differs from one of their four neighbours'.

    Args:
        maps: (..., H, W) classes.
        valid: Bool, broadcast to the same shape: between others no difference counts.
    """
    valid = torch.ones_like(maps, dtype=torch.bool) if valid is None else valid.expand_as(maps)
    found = torch.zeros_like(valid)
    for dim in (-2, -1):
        size = maps.shape[dim] - 1
        pairs = [(part.narrow(dim, 0, size), part.narrow(dim, 1, size)) for part in (maps, valid)]
        differs = (pairs[0][0] != pairs[0][1]) & pairs[1][0] & pairs[1][1]
        found.narrow(dim, 0, size).logical_or_(differs)
        found.narrow(dim, 1, size).logical_or_(differs)
    return found


def _classes_nearby(maps: torch.Tensor, counted: torch.Tensor, distance: int) -> torch.Tensor:
    """Sets (..., H, W) int64 of the classes that have a counted pixel within a square's reach."""
    found = torch.where(counted, 1 << maps.long().clamp(max=_LARGE - 1), 0)
    for dim in (-2, -1):
        alone, size = found, found.shape[dim]
        found = found.clone()
        for shift in range(1, distance + 1):
            found.narrow(dim, shift, size - shift).bitwise_or_(alone.narrow(dim, 0, size - shift))
            found.narrow(dim, 0, size - shift).bitwise_or_(alone.narrow(dim, shift, size - shift))
    return found


def outline_f_score(
    maps: torch.Tensor, labels: torch.Tensor, num_classes: int, distance: int = 2
) -> torch.Tensor:
    """The boundary F-score of maps, the mean over the classes that have an outline in either.

    A class's precision is the share of the pixels of its outline in the map that lie near its
    outline in the label; recall is the share the other way round.

    Args:
        maps: (G, K, H, W) uint8.
        labels: (G, H, W) uint8, VOID where nothing counts.
        num_classes: C, at most 63.
        distance: What is near, in pixels along rows and columns.

    Returns:
        (G, K) float32 in [0, 1]; 1 where neither has an outline.

    Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC
    2013.
    """
    labels = labels[:, None]
    valid = labels != VOID
    of_maps, of_labels = outlines(maps, valid), outlines(labels, valid)
    near_labels = _classes_nearby(labels, of_labels, distance)
    near_maps = _classes_nearby(maps, of_maps, distance)
    everywhere, of_labels = labels.expand_as(maps), of_labels.expand_as(maps)

    def near(classes: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
        return (sets >> classes.long().clamp(max=_LARGE - 1)) & 1 == 1

    drawn = count_by_class(maps, of_maps, num_classes).double()
    labelled = count_by_class(everywhere, of_labels, num_classes).double()
    precise = count_by_class(maps, of_maps & near(maps, near_labels), num_classes)
    recalled = count_by_class(everywhere, of_labels & near(everywhere, near_maps), num_classes)
    precision, recall = precise / drawn.clamp(min=1), recalled / labelled.clamp(min=1)
    f_score = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    counted = (drawn + labelled > 0).double()
    mean = (f_score * counted).sum(-1) / counted.sum(-1).clamp(min=1)
    return torch.where(counted.sum(-1) > 0, mean, 1.0).float()
