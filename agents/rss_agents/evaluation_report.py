"""A network as it was measured on a split: in tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rss_agents.command_line import table
from rss_agents.evaluation_pictures import Answer, answers_sheet, draw_confusion
from rss_agents.networks.evaluation import Answers, SplitCounts, SplitMetrics
from rss_env.datasets import SegmentationDataset
from rss_env.datasets.base import ByteArray, FileDataset
from rss_env.printable import printable

PICTURES = ("confusion", "worst")
_NAMED = 5  # worst images in the text


@dataclass(frozen=True)
class Evaluation:
    """A network as it was measured on a split.

    Attributes:
        checkpoint: Where it lies.
        image_size: (H, W) it was trained at.
        dataset: What it was measured on.
        counts: Of its answers.
        metrics: Of the counts.
        answers_of: From indices of images to its answers and the labels.
        image_of: From the index of an image to its pixels (H, W, 3) at that size.
    """

    checkpoint: Path
    image_size: tuple[int, int]
    dataset: SegmentationDataset
    counts: SplitCounts
    metrics: SplitMetrics
    answers_of: Callable[[Iterable[int]], Answers]
    image_of: Callable[[int], ByteArray]

    def worst_images(self, count: int) -> list[tuple[int, float]]:
        """Index and mIoU of the images with the lowest mIoU, the lowest first."""
        mious = self.counts.image_mious().tolist()
        valid = [(index, miou) for index, miou in enumerate(mious) if miou == miou]
        return sorted(valid, key=lambda pair: pair[1])[:count]

    def image_name(self, index: int) -> str:
        """The file of an image, or its number if it is of none."""
        if isinstance(self.dataset, FileDataset):
            return str(self.dataset.images[index])
        return f"image {index}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def text_of_one(evaluation: Evaluation) -> str:
    """A table of the classes of one network, its metrics, and its worst images."""
    found = evaluation.metrics
    total = max(sum(found.class_pixels), 1)
    rows = [
        [str(c), name, *map(_number, shares), str(pixels), f"{pixels / total:.2%}"]
        for c, (name, *shares, pixels) in enumerate(
            zip(
                evaluation.dataset.class_names,
                found.class_iou,
                found.class_precision,
                found.class_recall,
                found.class_pixels,
                strict=True,
            )
        )
    ]
    header = ["class", "name", "IoU", "precision", "recall", "pixels", "share"]
    worst = [f"{evaluation.image_name(i)} ({m:.3f})" for i, m in evaluation.worst_images(_NAMED)]
    return "\n".join(
        [
            table(header, rows),
            f"mIoU {found.miou:.4f} over {found.classes_counted} classes, mIoU of images "
            f"{found.image_miou:.4f}, pixel accuracy {found.pixel_accuracy:.4f}",
            f"lowest mIoU of an image: {printable(', '.join(worst))}",
        ]
    )


def text_side_by_side(evaluations: Sequence[Evaluation], names: Sequence[str]) -> str:
    """A table with a column of IoU for each network, and their metrics below."""
    metrics = [evaluation.metrics for evaluation in evaluations]
    rows = [
        [str(c), name, *(_number(found.class_iou[c]) for found in metrics)]
        for c, name in enumerate(evaluations[0].dataset.class_names)
    ]
    for title, value in (
        ("mIoU", "miou"),
        ("mIoU of images", "image_miou"),
        ("pixel accuracy", "pixel_accuracy"),
    ):
        rows.append(["-", title, *(_number(getattr(found, value)) for found in metrics)])
    rows.append(["-", "classes counted", *(str(found.classes_counted) for found in metrics)])
    return table(["class", "IoU of", *names], rows)


def pictures_of(evaluation: Evaluation, count: int) -> dict[str, Image.Image]:
    """The confusion matrix, and so many of the images with the lowest mIoU, by PICTURES."""
    dataset, size = evaluation.dataset, evaluation.image_size
    worst = evaluation.worst_images(count)
    shown = []
    for (index, miou), (maps, labels) in zip(
        worst, evaluation.answers_of([index for index, _ in worst]), strict=True
    ):
        image = evaluation.image_of(index)
        title = f"{evaluation.image_name(index)}: mIoU {miou:.3f}"
        shown.append(Answer(title, image, _nearest(labels[0], size), _nearest(maps[0], size)))
    title = f"{evaluation.checkpoint}, mIoU {evaluation.metrics.miou:.3f}"
    matrix = draw_confusion(evaluation.counts.confusion, dataset.class_names, title)
    sheet = answers_sheet(shown, dataset.class_names, dataset.palette)
    return dict(zip(PICTURES, (matrix, sheet), strict=True))


def _nearest(class_map: torch.Tensor, size: tuple[int, int]) -> ByteArray:
    """A class map (H, W) at another size, nearest neighbour."""
    picture = Image.fromarray(class_map.cpu().numpy())
    return np.array(picture.resize((size[1], size[0]), Image.Resampling.NEAREST))
