"""A data set at a glance: how much of it there is, how often each class occurs, a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from rss_env.datasets import SegmentationDataset
from rss_env.datasets.decoding import ByteArray
from rss_env.datasets.scanning import doubts_about, scan
from rss_env.errors import DatasetError
from rss_env.rendering import colourise, legend_of, outlined, sheet


@dataclass(frozen=True)
class Summary:
    """Contents of a split.

    Attributes:
        samples: Number of images.
        smallest: (H, W), the least height and the least width.
        largest: (H, W), the greatest height and the greatest width.
        class_share: (C,) share of each class among the labelled pixels that are not void; None
            without labels.
        class_images: (C,) number of images in which each class occurs; None without labels.
        void_share: Share of void among all labelled pixels.
    """

    samples: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    class_share: npt.NDArray[np.float64] | None
    class_images: npt.NDArray[np.int64] | None
    void_share: float


def summarise(dataset: SegmentationDataset, *, progress: bool = True) -> Summary:
    """Read a split and count.

    Raises:
        DatasetError: If a file cannot be used, or the labels cannot be meant as they are read.
    """
    facts = scan(dataset, title="counting", progress=progress)
    faults = [fault for fact in facts for fault in fact.faults]
    if faults:
        raise DatasetError(f"{faults[0]} ({len(faults)} fault(s) in all: run rss-data check)")
    doubts_about(dataset, facts).tell()
    sizes = np.array([fact.size for fact in facts])
    share = images = None
    void = 0.0
    if dataset.has_labels:
        counts = np.array([fact.class_pixels for fact in facts])
        void_pixels = sum(fact.void_pixels for fact in facts)
        share = counts.sum(0) / max(counts.sum(), 1)
        images = (counts > 0).sum(0)
        void = void_pixels / max(void_pixels + int(counts.sum()), 1)
    (least_height, least_width), (height, width) = sizes.min(0).tolist(), sizes.max(0).tolist()
    return Summary(len(facts), (least_height, least_width), (height, width), share, images, void)


def contact_sheet(
    dataset: SegmentationDataset, image_size: tuple[int, int], rows: int = 4, columns: int = 3
) -> Image.Image:
    """Samples spread over a split, each as image, overlay and label, with a legend of the classes.

    Args:
        dataset: A split.
        image_size: (H, W) of each picture; images are resized as environments do it.
        rows: Samples down the sheet, at most.
        columns: Samples across it.

    Raises:
        DatasetError: If a file cannot be used.
    """
    count = min(rows * columns, len(dataset))
    panels: list[ByteArray] = []
    labels: list[ByteArray] = []
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        image, label = dataset.read(index, image_size)
        panels.append(image)
        if label is not None:
            labels.append(label)
            panels += [
                outlined(image, label, dataset.palette),
                colourise(label, dataset.palette),
            ]
    heads = ("image", "overlay", "label") if dataset.has_labels else ("image",)
    across = columns * len(heads)
    legend = legend_of(dataset.class_names, dataset.palette, *labels) if labels else []
    lines = [panels[i : i + across] for i in range(0, len(panels), across)]
    return Image.fromarray(sheet(lines, heads, legend))
