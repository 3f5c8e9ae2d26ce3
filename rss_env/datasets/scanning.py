"""Every file of a data set read once: what is in it, and what is wrong with it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rss_env.datasets import resolve_dataset
from rss_env.datasets.base import FileDataset, SegmentationDataset
from rss_env.datasets.decoding import read_image
from rss_env.datasets.label_doubts import LabelDoubts
from rss_env.errors import DatasetError, InputError

_HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class SampleFacts:
    """Contents of one sample.

    Attributes:
        size: (H, W) of the image; None if it cannot be read.
        class_pixels: (C,) int64, labelled pixels of each class; None without a readable label.
        void_pixels: Labelled pixels of no class.
        faults: What is wrong, a sentence each.
    """

    size: tuple[int, int] | None
    class_pixels: npt.NDArray[np.int64] | None
    void_pixels: int
    faults: tuple[str, ...]


def scan_sample(dataset: SegmentationDataset, index: int) -> SampleFacts:
    """Read one sample at its own size; faults of the image and of its label are both found."""
    image = label = None
    faults = []
    if isinstance(dataset, FileDataset):
        try:
            image = read_image(dataset.images[index])
        except DatasetError as error:
            faults.append(str(error))
        try:
            if dataset.labels is not None:
                label = dataset.label_rule.read(dataset.labels[index])
                if image is not None:
                    dataset.check_sizes(index, image, label)
        except DatasetError as error:
            faults.append(str(error))
        size = None if image is None else (image.height, image.width)
    else:
        pixels, label = dataset.read(index)
        size = (pixels.shape[0], pixels.shape[1])
    if label is None:
        return SampleFacts(size, None, 0, tuple(faults))
    counts = np.bincount(label.ravel(), minlength=256)
    void = int(counts[dataset.num_classes :].sum())
    return SampleFacts(size, counts[: dataset.num_classes], void, tuple(faults))


def scan(
    dataset: SegmentationDataset,
    indices: Sequence[int] | None = None,
    title: str = "reading",
    *,
    progress: bool = True,
) -> list[SampleFacts]:
    """Read samples on all cores, with a progress bar.

    Args:
        dataset: What to read.
        indices: Which samples; None for all.
        title: In front of the bar.
        progress: Whether to show it.
    """
    indices = range(len(dataset)) if indices is None else indices
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda index: scan_sample(dataset, index), indices)
        return list(tqdm(done, title, len(indices), unit="sample", disable=not progress))


@dataclass(frozen=True)
class SplitReport:
    """Findings of the check of one split.

    Attributes:
        split: Its name.
        samples: Samples with both files there.
        faults: What is wrong, a sentence each.
        notes: What is legal but worth knowing.
        warnings: What is legal but most likely not meant.
    """

    split: str
    samples: int
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def check_dataset(name: str, *, progress: bool = True, **options: Any) -> list[SplitReport]:
    """Read every image and label of a data set and name all that is wrong.

    Found are: list lines that lead out of the data set, missing files, samples listed twice,
    samples that are in both a training and a held-out split, files that cannot be decoded, images
    and labels of different sizes, label values and colours that are no class, and values of a class
    that are read as void.

    Args:
        name: A key of `DATASETS`.
        progress: Whether to show progress bars.
        **options: The data set's own arguments; without `split`, every split there is.

    Returns:
        A report per split.

    Raises:
        InputError: If the data set has no files, or its root or layout is not there.
    """
    loader, own_options = resolve_dataset(name, options)
    if not (isinstance(loader, type) and issubclass(loader, FileDataset)):
        raise InputError(f"{name} is generated, or no FileDataset: it has no files to check")
    split = own_options.pop("split", None)
    splits = loader.split_names(**own_options) if split is None else [split]
    if not splits:
        raise DatasetError(f"{name} has no split to check in {own_options}")
    reports = []
    images_of: dict[str, set[Path]] = {}
    scanned: dict[tuple[Path, Path | None], SampleFacts] = {}
    for split in splits:
        faults: list[str] = []
        try:
            arguments = {**own_options, "split": split, "on_fault": faults.append}
            dataset = loader(**arguments)
        except DatasetError as error:
            reports.append(SplitReport(split, 0, (*faults, str(error)), ()))
            continue
        images_of[split] = set(dataset.images)
        faults += _listed_twice(dataset, split)
        faults += _shared_with_training(split, images_of)
        facts = _scan_new(dataset, scanned, f"checking {split}", progress)
        for fact in facts:
            faults += fact.faults
        doubts = doubts_about(dataset, facts)
        faults += doubts.faults
        notes = (*dataset.notes, *_notes(dataset, facts))
        reports.append(SplitReport(split, len(dataset), tuple(faults), notes, doubts.warnings))
    return reports


def _listed_twice(dataset: FileDataset, split: str) -> list[str]:
    repeats = Counter(dataset.images)
    return [f"split {split} lists {p} {n} times" for p, n in repeats.items() if n > 1]


def _shared_with_training(split: str, images_of: dict[str, set[Path]]) -> list[str]:
    """Images that the split shares with one it must not, among those looked at before."""
    faults = []
    for other, images in images_of.items():
        pair = {split, other}
        trains = any(s.startswith("train") and not s.startswith("trainval") for s in pair)
        both = images & images_of[split]
        if trains and any(s in _HELD_OUT for s in pair) and both:
            first, second = sorted(pair)
            faults.append(
                f"splits {first} and {second} share {len(both)} image(s), first {min(both)}"
            )
    return faults


def _scan_new(
    dataset: FileDataset,
    scanned: dict[tuple[Path, Path | None], SampleFacts],
    title: str,
    progress: bool,
) -> list[SampleFacts]:
    """Facts of every sample; those that an earlier split held are not read again."""
    labels = dataset.labels or [None] * len(dataset)
    pairs = list(zip(dataset.images, labels, strict=True))
    new = [i for i, pair in enumerate(pairs) if pair not in scanned]
    for i, fact in zip(new, scan(dataset, new, title, progress=progress), strict=True):
        scanned[pairs[i]] = fact
    return [scanned[pair] for pair in pairs]


def doubts_about(dataset: SegmentationDataset, facts: Sequence[SampleFacts]) -> LabelDoubts:
    """What a data set says of its labels together; those that cannot be read count for nothing."""
    if not facts:
        return LabelDoubts()
    nothing = np.zeros(dataset.num_classes, np.int64)
    counts = [nothing if fact.class_pixels is None else fact.class_pixels for fact in facts]
    return dataset.doubts(np.array(counts), np.array([fact.void_pixels for fact in facts]))


def _notes(dataset: FileDataset, facts: list[SampleFacts]) -> list[str]:
    counts = [fact.class_pixels for fact in facts if fact.class_pixels is not None]
    notes = []
    if dataset.labels is not None and dataset.label_meaning:
        notes.append(dataset.label_meaning)
    if counts:
        void = sum(not count.any() for count in counts)
        if void:
            notes.append(f"{void} label(s) hold no class at all, only void: they score 0")
        seen = np.sum(counts, axis=0) > 0
        absent = [n for n, there in zip(dataset.class_names, seen, strict=True) if not there]
        if absent:
            notes.append(
                f"{len(absent)} of {dataset.num_classes} classes never occur: {', '.join(absent)}"
            )
    return notes
