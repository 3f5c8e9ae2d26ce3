"""Metrics of a segmentation over a whole split: counts are summed first, then divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from rss_agents.networks.segmentation_network import Predictor, SegmentationNetwork
from rss_agents.networks.tiling import TileConfig, predict_tiles
from rss_env.datasets import SegmentationDataset
from rss_env.errors import InputError
from rss_env.kernels.score_maps import class_counts
from rss_env.scenes import SceneBatch, Scenes

_BATCH = 32


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics over a split, void left out.

    Attributes:
        miou: Mean IoU over the classes that occur in the labels, from summed counts.
        pixel_accuracy: Share of valid pixels that are right.
        class_iou: IoU of each class; None for a class that does not occur.
    """

    miou: float
    pixel_accuracy: float
    class_iou: tuple[float | None, ...]


def metrics_from_counts(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> SplitMetrics:
    """Metrics of a split from its summed counts, each (C,) integers."""
    union = (predicted + labelled - right).double()
    iou = right.double() / union.clamp(min=1)
    occurs = labelled > 0
    if not occurs.any():
        raise InputError("the split has no valid pixel: nothing can be evaluated")
    return SplitMetrics(
        float(iou[occurs].mean()),
        float(right.sum() / labelled.sum()),
        tuple(float(v) if o else None for v, o in zip(iou, occurs, strict=True)),
    )


def count_maps(
    maps: torch.Tensor, labels: torch.Tensor, num_classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """True positives and predicted pixels (B, C) int64 of maps (B, H, W) against labels."""
    index = torch.arange(len(maps), device=maps.device)
    counts = class_counts(
        maps.flatten(1)[:, None],
        labels.flatten(1),
        index,
        torch.zeros_like(index, dtype=torch.bool),
        maps.shape[2],
        num_classes,
    )
    right, predicted = counts[:, 0].long().unbind(1)
    return right, predicted


def count_split(
    scenes: Scenes, predict: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts of every scene under a function from images (B, H, W, 3) to class maps (B, H, W).

    Returns:
        True positives, predicted and labelled pixels, each (M, C) int64 for M scenes.
    """
    device = scenes.images.device
    parts = []
    for indices in torch.arange(len(scenes), device=device).split(_BATCH):
        batch = SceneBatch(indices, torch.zeros_like(indices, dtype=torch.bool))
        maps = predict(scenes.observe(batch)).to(torch.uint8)
        parts.append(count_maps(maps, scenes.labels_of(batch), scenes.num_classes))
    right, predicted = (torch.cat(part) for part in zip(*parts, strict=True))
    assert scenes.class_pixels is not None
    return right, predicted, scenes.class_pixels.long()


def evaluate_maps(scenes: Scenes, predict: Callable[[torch.Tensor], torch.Tensor]) -> SplitMetrics:
    """Metrics over all scenes of a function from images (B, H, W, 3) to class maps (B, H, W)."""
    right, predicted, labelled = count_split(scenes, predict)
    return metrics_from_counts(right.sum(0), predicted.sum(0), labelled.sum(0))


@torch.no_grad()
def evaluate(network: Predictor, scenes: Scenes) -> SplitMetrics:
    """Metrics of a network's most likely classes at the scenes' size; the mode is restored."""
    was_training = network.training
    network.eval()
    metrics = evaluate_maps(scenes, network.predict)
    network.train(was_training)
    return metrics


@torch.no_grad()
def evaluate_full_resolution(
    network: SegmentationNetwork,
    dataset: SegmentationDataset,
    image_size: tuple[int, int],
    device: torch.device,
    windows: TileConfig | None = None,
) -> SplitMetrics:
    """Metrics at each label's own size, the logits upsampled to it (bilinear).

    Args:
        network: In evaluation mode.
        dataset: With labels.
        image_size: (H, W) the network was trained at.
        device: Where the network lives.
        windows: With `tiles`, images are looked at in windows of that size instead of resized.
    """
    totals = torch.zeros(3, dataset.num_classes, dtype=torch.int64)
    for index in range(len(dataset)):
        image, label = dataset.read(index)
        if label is None:
            raise InputError("the split has no labels to evaluate against")
        if windows is not None and windows.tiles:
            maps = torch.from_numpy(predict_tiles(network, image, image_size, windows))[None]
        else:
            image, _ = dataset.read(index, image_size)
            maps = network.predict(torch.from_numpy(image).to(device)[None], label.shape).cpu()
        labels = torch.from_numpy(label)[None]
        right, predicted = count_maps(maps, labels, dataset.num_classes)
        labelled = torch.bincount(labels.flatten(), minlength=256)[: dataset.num_classes]
        totals += torch.stack([right[0], predicted[0], labelled])
    return metrics_from_counts(*totals.unbind())


def evaluate_majority_class(training: Scenes, validation: Scenes) -> SplitMetrics:
    """Metrics of always answering the most frequent class of the training scenes."""
    majority = int(training.class_frequencies().argmax())
    return evaluate_maps(validation, lambda images: torch.full_like(images[..., 0], majority))
