"""The images and labels of a data set as uint8 tensors on a device.

`Scenes` holds the decoded samples and the label tables scores are looked up in; equal data sets
share one copy in a process, and those of files share the cache's copy with other processes.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
import torch

from rss_env.array_cache import KeptArray
from rss_env.array_pool import ArrayPool
from rss_env.arrays import Array, alike, as_tensor
from rss_env.datasets import SegmentationDataset
from rss_env.datasets.resizing import Resize
from rss_env.errors import InputError
from rss_env.feedback import ScoringContext
from rss_env.kernels.gather_images import gather_images
from rss_env.kernels.label_table import label_table
from rss_env.labels import VOID
from rss_env.scene_cache import SceneCache, split_samples
from rss_env.scene_stream import SceneBatch
from rss_env.streamed_images import StreamedImages, streams


@dataclass(slots=True)
class LabelLookup(Generic[Array]):
    """Labels that the maps of a batch are judged by: tensors or arrays, as the batch has them.

    Attributes:
        tables: Of each scale, (M, cells, ...) from `kernels.label_table`.
        index: (G,) int64, which rows are the batch's.
        mirrored: (G,) bool, which of them are to be flipped horizontally.
        class_pixels: (M, C) int64, labelled pixels of each class.
    """

    tables: list[Array]
    index: Array
    mirrored: Array
    class_pixels: Array


class Scenes:
    """Every sample of a data set, decoded and resized.

    Attributes:
        device: Where batches are used.
        streamed: Gives batches of samples that stay on the host; None if all are on the device.
        images: (M, H, W, 3) uint8.
        labels: (M, H, W) uint8, classes 0..C-1 and 255 for void; None without labels.
        class_pixels: (M, C) int64, labelled pixels of each class; None without labels.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        image_size: tuple[int, int],
        device: torch.device,
        resize: Resize = "stretch",
        *,
        streams: bool = False,
    ):
        """Decode the whole data set, on all cores, or map what was decoded before.

        Args:
            dataset: What is decoded.
            image_size: (H, W).
            device: Where samples are used.
            resize: See `load_scenes`.
            streams: Whether they stay on the host, to be told batch by batch.

        Raises:
            DatasetError: If a file cannot be used.
        """
        self.num_classes = dataset.num_classes
        self.class_names, self.palette = dataset.class_names, dataset.palette
        self._dataset, self._tables = dataset, dict[int, np.ndarray | torch.Tensor]()
        self._kept_tables: dict[int, KeptArray] = {}
        self._padded = resize == "pad"
        self._known: dict[Any, tuple[list[Any], Any]] = {}  # what `look_up` found
        self._cache = SceneCache(dataset, image_size, resize)
        self._samples = self._cache.samples()
        images, labels = split_samples(self._samples.values, len(dataset), image_size)
        self.device, kept_on = device, torch.device("cpu") if streams else device
        self.images = torch.from_numpy(images).to(kept_on)
        self._pixels: Any = images if kept_on.type == "cpu" else self.images
        self.labels = self.class_pixels = None
        if labels is not None:
            self.labels = torch.from_numpy(labels).to(kept_on)
            self.class_pixels = count_classes(self.labels, self.num_classes)
        self.streamed = StreamedImages(images, labels, device) if streams else None
        if kept_on.type != "cpu":  # what is there need not be here as well
            self._samples = replace(self._samples, values=np.empty(0, np.uint8))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.images.shape[1], self.images.shape[2]

    def content_digest(self, scales: Iterable[int] = ()) -> str:
        """SHA-256 of the files' content, and of the images, labels and label counts made of it.

        It is computed from what is in memory, and alike for equal content only.

        Args:
            scales: Whose label counts are used.

        Raises:
            InputError: If a file of the cache is not what was written to it.
        """
        contents, samples = self._cache.contents, self._samples
        if self.images.device.type != "cpu":
            parts = [self.images] if self.labels is None else [self.images, self.labels]
            row = torch.cat([part.flatten() for part in parts]).cpu().numpy()
            samples = replace(samples, values=row)
        digests = ["" if contents is None else contents.digest, samples.digest_again()]
        for scale in sorted({*scales} - {1}):  # whose table is made of the labels each time
            table = self._table(scale)
            kept = self._kept_tables.get(scale) or KeptArray(as_tensor(table).cpu().numpy())
            digests.append(kept.digest_again())
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def label_table(self, scale: int) -> torch.Tensor:
        """The table of labels per cell (see `kernels.label_table`), built once per scale.

        Raises:
            InputError: If the data set has no labels.
        """
        return as_tensor(self._table(scale))

    def _table(self, scale: int) -> np.ndarray | torch.Tensor:
        """The table as it is kept: an array on the CPU, a tensor elsewhere."""
        if scale not in self._tables:
            labels = self._need_labels()
            if labels.device.type != "cpu":
                self._tables[scale] = label_table(labels, self.num_classes, scale)
            elif scale == 1:
                self._tables[scale] = label_table(labels, self.num_classes, scale).numpy()
            else:
                kept = self._kept_tables[scale] = self._cache.label_counts(labels, scale)
                self._tables[scale] = kept.values
        return self._tables[scale]

    def observe(
        self, batch: SceneBatch[Array], repeats: int = 1, pool: ArrayPool | None = None
    ) -> Array:
        """The batch's images, each `repeats` times: fresh uint8 (G * repeats, H, W, 3).

        Args:
            batch: The scenes.
            repeats: How often each image stands in the batch, beside itself.
            pool: Where memory is taken from on the CPU; None for the system.
        """
        if batch.pixels is not None or self._is_elsewhere(batch):
            images = self._gathered(self.images, batch.pixels, batch)
            if batch.variation is not None:
                images = batch.variation.of_images(images)
            return alike(batch.index, images.repeat_interleave(repeats, 0))
        pixels = alike(batch.index, self._pixels)
        if batch.variation is None:
            into = None if pool is None else pool.take()
            return gather_images(pixels, batch.index, batch.mirrored, repeats, into=into)
        images = as_tensor(gather_images(pixels, batch.index, batch.mirrored))
        images = batch.variation.of_images(images).repeat_interleave(repeats, 0)
        return alike(batch.index, images)

    def context_of(
        self, batch: SceneBatch[Any], scale: int = 1, *, is_validation: bool = False
    ) -> ScoringContext:
        """The batch as a scorer is told of it; see `ScoringContext`."""
        index, mirrored = (as_tensor(a).cpu().numpy() for a in (batch.index, batch.mirrored))
        names = tuple(self._dataset.name_of(number) for number in index.tolist())
        return ScoringContext(names, index, mirrored, batch.variation, scale, is_validation)

    def labels_of(self, batch: SceneBatch[Any]) -> torch.Tensor:
        """The batch's label maps, for supervised learning and evaluation: uint8 (G, H, W)."""
        labels = self._gathered(self._need_labels(), batch.truth, batch)
        return labels if batch.variation is None else batch.variation.of_labels(labels)

    def _is_elsewhere(self, batch: SceneBatch[Any]) -> bool:
        """Tell whether a batch lies on the device and the samples on the host."""
        index = batch.index
        return isinstance(index, torch.Tensor) and index.device.type != self.images.device.type

    def _gathered(
        self, source: torch.Tensor, told: torch.Tensor | None, batch: SceneBatch[Any]
    ) -> torch.Tensor:
        """A batch's rows of images or labels on its device, flipped where wanted.

        Args:
            source: Of all samples.
            told: Those of the batch, if the host has told them.
            batch: Says which, and which are flipped.
        """
        index, mirrored = as_tensor(batch.index), as_tensor(batch.mirrored)
        if told is not None:
            return gather_images(told, torch.arange(len(told), device=told.device), mirrored)
        if self._is_elsewhere(batch):  # as in a validation, which waits for them
            return gather_images(source, index.cpu(), mirrored.cpu()).to(index.device)
        return gather_images(source, index, mirrored)

    def look_up(self, batch: SceneBatch[Array], scales: tuple[int, ...]) -> LabelLookup[Array]:
        """Look up the labels that the batch's maps of these scales are judged by.

        Raises:
            InputError: If the data set has no labels.
        """
        moves_labels = batch.variation is not None and batch.variation.moves_labels
        if batch.truth is None and not moves_labels:
            known = (type(batch.index), scales)
            if known not in self._known:  # a single environment asks in every step
                self._need_labels()
                assert self.class_pixels is not None
                tables = [alike(batch.index, self._table(scale)) for scale in scales]
                self._known[known] = (tables, alike(batch.index, self.class_pixels))
            tables, class_pixels = self._known[known]
            return LabelLookup(tables, batch.index, batch.mirrored, class_pixels)
        labels = self.labels_of(batch)
        none_mirrored = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)
        tables = [label_table(labels, self.num_classes, scale) for scale in scales]
        return LabelLookup(
            [alike(batch.index, table) for table in tables],
            alike(batch.index, torch.arange(len(labels), device=labels.device)),
            alike(batch.index, none_mirrored),
            alike(batch.index, count_classes(labels, self.num_classes)),
        )

    def shown_pixels(self) -> npt.NDArray[np.int64]:
        """Pixels of each label, (M,), without what is around a picture that is fitted in.

        That is void, and what is void at the edges of a picture is taken for the same.
        """
        labels, (height, width) = self._need_labels(), self.image_size
        if not self._padded:
            return np.full(len(labels), height * width)
        valid = labels != VOID
        sides = []
        for axis, length in ((2, height), (1, width)):
            line = valid.any(axis).cpu().numpy()  # (M, length)
            last = length - line[:, ::-1].argmax(1)
            sides.append(np.where(line.any(1), last - line.argmax(1), 0))
        return sides[0] * sides[1]

    def class_frequencies(self) -> npt.NDArray[np.float64]:
        """Share of each class among the valid pixels of the data set, (C,)."""
        self._need_labels()
        assert self.class_pixels is not None
        total = self.class_pixels.sum(0).double().cpu().numpy()
        return total / max(total.sum(), 1.0)

    def inverse_frequencies(self) -> npt.NDArray[np.float64]:
        """Weights of the classes, (C,), by which a pixel of the data set is worth 1 on average.

        They are inverse to the classes' frequencies; that of a class without a pixel is 0.
        """
        frequencies = self.class_frequencies()
        occurring = max(int((frequencies > 0).sum()), 1)
        weights = np.zeros(len(frequencies))
        return np.divide(1.0 / occurring, frequencies, out=weights, where=frequencies > 0)

    def _need_labels(self) -> torch.Tensor:
        if self.labels is None:
            raise InputError("this data set has no labels; give a scorer")
        return self.labels


def count_classes(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Pixels of each class, (M, C) int64, in label maps (M, H, W) uint8."""
    counts = torch.zeros(len(labels), 256, dtype=torch.int64, device=labels.device)
    one = counts.new_ones(())
    for part, images in zip(counts.split(64), labels.split(64), strict=True):  # bounds the memory
        index = images.flatten(1).long()
        part.scatter_add_(1, index, one.expand_as(index))
    return counts[:, :num_classes].contiguous()


_loaded: weakref.WeakValueDictionary[Any, Scenes] = weakref.WeakValueDictionary()


def load_scenes(
    dataset: SegmentationDataset,
    image_size: tuple[int, int],
    device: torch.device | str = "cpu",
    resize: Resize = "stretch",
    data_on: str = "device",
) -> Scenes:
    """Decode a data set, or share the copy that something in this process still holds.

    What may not be meant in its labels is a `UserWarning`.

    Args:
        dataset: The data set.
        image_size: (H, W) of the images.
        device: Where they are to be.
        resize: Whether they are stretched to the size, or keep their shape and are padded.
        data_on: `device`; `host`, from where batches are told; or `auto`, by the room there is.

    Raises:
        DatasetError: If a file cannot be used, or the labels cannot be meant as they are read.
    """
    device = torch.device(device)
    size = (4 if dataset.has_labels else 3) * len(dataset) * image_size[0] * image_size[1]
    streamed = streams(data_on, size, device)
    key = (dataset.identity, tuple(image_size), str(device), resize, streamed)
    scenes = _loaded.get(key)
    if scenes is None:
        scenes = _loaded[key] = Scenes(dataset, image_size, device, resize, streams=streamed)
    # Of the data set at hand, which may say what void is. Most doubt nothing, and need no counts.
    doubts = type(dataset).doubts is not SegmentationDataset.doubts
    if doubts and scenes.class_pixels is not None:
        counts = scenes.class_pixels.cpu().numpy()
        dataset.doubts(counts, scenes.shown_pixels() - counts.sum(1)).tell()
    return scenes
