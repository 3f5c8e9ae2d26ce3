"""Metrics of a segmentation over a whole split: counts are summed first, then divided."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from rss_agents.networks.segmentation_network import Predictor, SegmentationNetwork, evaluating
from rss_agents.networks.tile_config import TileConfig
from rss_agents.networks.tiling import predict_tiles
from rss_env.datasets import SegmentationDataset
from rss_env.datasets.decoding import ByteArray
from rss_env.datasets.resizing import Resize, fit_image, window_of
from rss_env.errors import InputError
from rss_env.kernels.score_maps import class_counts
from rss_env.scenes import SceneBatch, Scenes, count_classes

_BATCH = 32


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics over a split. Pixels that are void in the label count nowhere.

    Attributes:
        miou: Mean over classes of true positives / (predicted + labelled - true positives), each
            summed over the split first. A class counts if any pixel of the split is labelled or
            predicted as it: drawn but never labelled, it counts as 0.
        image_miou: The same of each image by itself, averaged over the images that have a valid
            pixel: what is rewarded at a scale of 1.
        pixel_accuracy: Share of valid pixels that are right.
        class_iou: IoU of each class; None for a class that is neither labelled nor predicted.
        class_precision: True positives / predicted of each class; None for one never predicted.
        class_recall: True positives / labelled of each class; None for one never labelled.
        class_pixels: Labelled pixels of each class.

    Source: the PASCAL VOC devkit (Everingham et al., 2010), whose rule mmsegmentation and
    torchmetrics share; of single images, Wang et al., arXiv 2310.19252.
    """

    NAMES: ClassVar = ("miou", "image_miou", "pixel_accuracy", "classes_counted", "class_iou")

    miou: float
    image_miou: float
    pixel_accuracy: float
    class_iou: tuple[float | None, ...]
    class_precision: tuple[float | None, ...]
    class_recall: tuple[float | None, ...]
    class_pixels: tuple[int, ...]

    @property
    def classes_counted(self) -> int:
        """How many classes the mean IoU is over."""
        return sum(value is not None for value in self.class_iou)

    def numbers(self) -> dict[str, float]:
        """The metrics that are single numbers, by name."""
        return {name: getattr(self, name) for name in self.NAMES if name != "class_iou"}

    def report(self, class_names: Sequence[str]) -> dict[str, Any]:
        """All metrics by name, as JSON has them."""
        return {**self.numbers(), "class_iou": dict(zip(class_names, self.class_iou, strict=True))}

    def report_of_classes(self, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What `report` does not say of each class, as JSON has it."""
        names = ("class_precision", "class_recall", "class_pixels")
        return {n: dict(zip(class_names, getattr(self, n), strict=True)) for n in names}


@dataclass(frozen=True)
class SplitCounts:
    """Counts of the answers for every image of a split; void pixels are counted by themselves.

    Attributes:
        right: (M, C) int64, true positives of M images.
        predicted: (M, C) int64, predicted pixels.
        labelled: (M, C) int64, labelled pixels.
        void: (M,) int64, pixels whose label is void.
        confusion: (C, C) int64, pixels of the split labelled as the row and answered as the column.
    """

    right: torch.Tensor
    predicted: torch.Tensor
    labelled: torch.Tensor
    void: torch.Tensor
    confusion: torch.Tensor

    def metrics(self) -> SplitMetrics:
        """Metrics of the split.

        Raises:
            InputError: If no pixel is valid.
        """
        return metrics_from_counts(self.right, self.predicted, self.labelled)

    def image_mious(self) -> torch.Tensor:
        """MIoU of each image by itself, (M,) float64; NaN where no pixel is valid."""
        mious = _image_mious(self.right, self.predicted, self.labelled)
        return mious.where(self.labelled.any(1), torch.nan)


def metrics_from_counts(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> SplitMetrics:
    """Metrics of a split from the counts of its images.

    Args:
        right: (M, C) integers, true positives of M images.
        predicted: (M, C), predicted pixels, those left out whose label is void.
        labelled: (M, C), labelled pixels.

    Raises:
        InputError: If no pixel is valid.
    """
    if not labelled.any():
        raise InputError("the split has no valid pixel: nothing can be evaluated")
    true, answered, given = right.sum(0), predicted.sum(0), labelled.sum(0)
    iou, counted = _iou(true, answered, given)
    image_miou = _image_mious(right, predicted, labelled)
    return SplitMetrics(
        float(iou[counted].mean()),
        float(image_miou[labelled.any(1)].mean()),
        float(right.sum() / labelled.sum()),
        tuple(float(v) if c else None for v, c in zip(iou, counted, strict=True)),
        _shares(true, answered),
        _shares(true, given),
        tuple(given.tolist()),
    )


def _shares(true: torch.Tensor, all_of_them: torch.Tensor) -> tuple[float | None, ...]:
    """True positives (C,) among pixels (C,); None where there are none."""
    pairs = zip(true.tolist(), all_of_them.tolist(), strict=True)
    return tuple(part / whole if whole else None for part, whole in pairs)


def _iou(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU (..., C) float64, and whether the class counts: its union is not empty."""
    union = (predicted + labelled - right).double()
    return right.double() / union.clamp(min=1), union > 0


def _image_mious(
    right: torch.Tensor, predicted: torch.Tensor, labelled: torch.Tensor
) -> torch.Tensor:
    """MIoU (M,) float64 of each of M images by itself, from its counts (M, C)."""
    iou, counted = _iou(right, predicted, labelled)
    return iou.sum(1) / counted.sum(1).clamp(min=1)


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


Answers = Iterator[tuple[torch.Tensor, torch.Tensor]]  # class maps and labels, (B, H, W) uint8


def scene_answers(scenes: Scenes, predict: Callable[[torch.Tensor], torch.Tensor]) -> Answers:
    """Class maps from a function of images (B, H, W, 3), and labels, of all scenes in batches."""
    device = scenes.device
    for indices in torch.arange(len(scenes), device=device).split(_BATCH):
        batch = SceneBatch.unvaried(indices)
        yield predict(scenes.observe(batch)).to(torch.uint8), scenes.labels_of(batch)


@torch.no_grad()
def full_resolution_answers(
    network: SegmentationNetwork,
    dataset: SegmentationDataset,
    image_size: tuple[int, int],
    device: torch.device,
    windows: TileConfig | None = None,
    resize: Resize = "stretch",
    indices: Iterable[int] | None = None,
) -> Answers:
    """Class maps at each label's own size, and labels, an image at a time.

    Arguments are those of `evaluate_full_resolution`; `indices` are the images, None for all.

    Raises:
        InputError: If there are no labels.
    """
    for index in range(len(dataset)) if indices is None else indices:
        image, label = dataset.read(index)
        if label is None:
            raise InputError("the split has no labels to evaluate against")
        if windows is not None and windows.tiles:
            maps = torch.from_numpy(predict_tiles(network, image, image_size, windows))[None]
        elif resize == "pad":
            maps = predict_fitted(network, image, network.input_size(image_size))[None]
        else:
            image, _ = dataset.read(index, network.input_size(image_size))
            maps = network.predict(torch.from_numpy(image).to(device)[None], label.shape).cpu()
        yield maps, torch.from_numpy(label)[None]


def count_answers(answers: Answers, num_classes: int) -> SplitCounts:
    """Counts of all answers of a split; maps and labels of a batch lie on one device."""
    parts: list[tuple[torch.Tensor, ...]] = []
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for maps, labels in answers:
        right, predicted = count_maps(maps, labels, num_classes)
        labelled = count_classes(labels, num_classes)
        void = labels[0].numel() - labelled.sum(1)
        parts.append((right.cpu(), predicted.cpu(), labelled.cpu(), void.cpu()))
        valid = labels < num_classes
        pairs = labels[valid].long() * num_classes + maps[valid].long()
        confusion += torch.bincount(pairs, minlength=num_classes**2).view_as(confusion).cpu()
    right, predicted, labelled, void = (torch.cat(part) for part in zip(*parts, strict=True))
    return SplitCounts(right, predicted, labelled, void, confusion)


def count_split(
    scenes: Scenes, predict: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts of every scene under a function from images (B, H, W, 3) to class maps (B, H, W).

    Returns:
        True positives, predicted and labelled pixels, each (M, C) int64 for M scenes.
    """
    parts = [count_maps(*pair, scenes.num_classes) for pair in scene_answers(scenes, predict)]
    right, predicted = (torch.cat(part) for part in zip(*parts, strict=True))
    assert scenes.class_pixels is not None
    return right, predicted, scenes.class_pixels.long()


def evaluate_maps(scenes: Scenes, predict: Callable[[torch.Tensor], torch.Tensor]) -> SplitMetrics:
    """Metrics over all scenes of a function from images (B, H, W, 3) to class maps (B, H, W)."""
    return metrics_from_counts(*count_split(scenes, predict))


@torch.no_grad()
def evaluate(network: Predictor, scenes: Scenes) -> SplitMetrics:
    """Metrics of a network's most likely classes at the scenes' size; the mode is restored."""
    with evaluating(network):
        return evaluate_maps(scenes, network.predict)


def predict_fitted(
    network: SegmentationNetwork, image: ByteArray, image_size: tuple[int, int]
) -> torch.Tensor:
    """The answer for an image (H, W, 3) that is fitted into a size: (H, W) uint8, on the CPU.

    Args:
        network: In evaluation mode.
        image: Of any size.
        image_size: (H, W) of the frame; what is around the image is black.
    """
    fitted = torch.from_numpy(fit_image(image, image_size)).to(network.mean.device)
    size = (image.shape[0], image.shape[1])
    return network.predict(fitted[None], size, window_of(size, image_size))[0].cpu()


@torch.no_grad()
def evaluate_full_resolution(
    network: SegmentationNetwork,
    dataset: SegmentationDataset,
    image_size: tuple[int, int],
    device: torch.device,
    windows: TileConfig | None = None,
    resize: Resize = "stretch",
) -> SplitMetrics:
    """Metrics at each label's own size, the logits upsampled to it (bilinear).

    Args:
        network: In evaluation mode.
        dataset: With labels.
        image_size: (H, W) the network was trained at.
        device: Where the network lives.
        windows: With `tiles`, images are looked at in windows of that size instead of resized.
        resize: How they are resized otherwise.

    Raises:
        InputError: If there are no labels, or none that can be meant as they are read.
    """
    answers = full_resolution_answers(network, dataset, image_size, device, windows, resize)
    counts = count_answers(answers, dataset.num_classes)
    dataset.doubts(counts.labelled.numpy(), counts.void.numpy()).tell()
    return counts.metrics()


def evaluate_majority_class(training: Scenes, validation: Scenes) -> SplitMetrics:
    """Metrics of always answering the most frequent class of the training scenes."""
    majority = int(training.class_frequencies().argmax())
    return evaluate_maps(validation, lambda images: torch.full_like(images[..., 0], majority))
