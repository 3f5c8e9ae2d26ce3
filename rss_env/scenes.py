"""The images and labels of a data set as uint8 tensors on a device, and which one comes next.

`Scenes` holds the decoded samples and the label tables scores are looked up in; equal data sets
share one copy in a process. `SceneStream` decides which image each group of sub-environments sees:
a pure function of (seed, episode), so its whole state is a few integers.
"""

from __future__ import annotations

import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from rss_env import counter_random
from rss_env.datasets import SegmentationDataset
from rss_env.errors import InputError
from rss_env.kernels.gather_images import gather_images
from rss_env.kernels.label_table import label_table

_PROGRESS_BAR_FROM = 2000  # samples; smaller sets load in a moment


@dataclass(frozen=True)
class SceneBatch:
    """Which scenes a batch of G groups sees.

    Attributes:
        index: (G,) int64, which samples.
        mirrored: (G,) bool, which of them are flipped horizontally.
    """

    index: torch.Tensor
    mirrored: torch.Tensor


class Scenes:
    """Every sample of a data set, decoded and resized.

    Attributes:
        images: (M, H, W, 3) uint8.
        labels: (M, H, W) uint8, classes 0..C-1 and 255 for void; None without labels.
        class_pixels: (M, C) int64, labelled pixels of each class; None without labels.
    """

    def __init__(
        self, dataset: SegmentationDataset, image_size: tuple[int, int], device: torch.device
    ):
        """Decode the whole data set, on all cores.

        Raises:
            DatasetError: If a file cannot be used.
        """
        self.num_classes = dataset.num_classes
        self.class_names, self.palette = dataset.class_names, dataset.palette
        images = np.empty((len(dataset), *image_size, 3), np.uint8)
        labels = np.empty((len(dataset), *image_size), np.uint8) if dataset.has_labels else None

        def read(index: int) -> None:
            image, label = dataset.read(index, image_size)
            images[index] = image
            if labels is not None and label is not None:
                labels[index] = label

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = pool.map(read, range(len(dataset)))
            hidden = len(dataset) < _PROGRESS_BAR_FROM
            for _ in tqdm(done, "reading images", len(dataset), disable=hidden):
                pass
        self.images = torch.from_numpy(images).to(device)
        self.labels = self.class_pixels = None
        self._tables: dict[int, torch.Tensor] = {}
        if labels is not None:
            self.labels = torch.from_numpy(labels).to(device)
            whole = torch.stack([(self.labels == c).sum((1, 2)) for c in range(self.num_classes)])
            self.class_pixels = whole.T.contiguous()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.images.shape[1], self.images.shape[2]

    def label_table(self, scale: int) -> torch.Tensor:
        """The table of labels per cell (see `kernels.label_table`), built once per scale.

        Raises:
            InputError: If the data set has no labels.
        """
        if scale not in self._tables:
            self._tables[scale] = label_table(self._need_labels(), self.num_classes, scale)
        return self._tables[scale]

    def observe(self, batch: SceneBatch, repeats: int = 1) -> torch.Tensor:
        """The batch's images, each `repeats` times: fresh uint8 (G * repeats, H, W, 3)."""
        return gather_images(self.images, batch.index, batch.mirrored, repeats)

    def labels_of(self, batch: SceneBatch) -> torch.Tensor:
        """The batch's label maps, for supervised learning and evaluation: uint8 (G, H, W)."""
        return gather_images(self._need_labels(), batch.index, batch.mirrored)

    def class_frequencies(self) -> npt.NDArray[np.float64]:
        """Share of each class among the valid pixels of the data set, (C,)."""
        self._need_labels()
        assert self.class_pixels is not None
        total = self.class_pixels.sum(0).double().cpu().numpy()
        return total / max(total.sum(), 1.0)

    def _need_labels(self) -> torch.Tensor:
        if self.labels is None:
            raise InputError("this data set has no labels; give a scorer")
        return self.labels


_loaded: weakref.WeakValueDictionary[Any, Scenes] = weakref.WeakValueDictionary()


def load_scenes(
    dataset: SegmentationDataset, image_size: tuple[int, int], device: torch.device | str = "cpu"
) -> Scenes:
    """Decode a data set, or share the copy that something in this process still holds.

    Raises:
        DatasetError: If a file cannot be used.
    """
    device = torch.device(device)
    key = (dataset.identity, tuple(image_size), str(device))
    scenes = _loaded.get(key)
    if scenes is None:
        scenes = _loaded[key] = Scenes(dataset, image_size, device)
    return scenes


class SceneStream:
    """Which scene each of G groups sees: uniform with replacement, from (seed, episode).

    Attributes:
        seeds: (G,) int64, non-negative.
        episodes: (G,) int64, -1 before the first episode.
    """

    def __init__(self, num_groups: int, num_scenes: int, *, mirror: bool = False):
        """Start with seeds from the operating system's entropy.

        Args:
            num_groups: G.
            num_scenes: How many scenes there are to draw from.
            mirror: Whether scenes are flipped horizontally at random.
        """
        entropy = np.random.SeedSequence().generate_state(num_groups, np.uint64)
        self.seeds = (entropy >> np.uint64(1)).astype(np.int64)
        self.episodes = np.full(num_groups, -1, np.int64)
        self._num_scenes, self._mirror = num_scenes, mirror

    def seed(self, group: int, seed: int) -> None:
        """Start one group's stream anew; its next episode is number 0."""
        self.seeds[group], self.episodes[group] = seed, -1

    def advance(self, groups: npt.NDArray[np.bool_]) -> None:
        """Move the groups where the (G,) mask is true to their next episode."""
        self.episodes[groups] += 1

    def batch(self, device: torch.device | str = "cpu") -> SceneBatch:
        """The scenes of the current episodes."""
        keys = (self.seeds, np.maximum(self.episodes, 0))
        index = counter_random.integers(self._num_scenes, *keys, counter_random.SCENE_STREAM)
        mirrored = np.zeros(len(self.seeds), np.bool_)
        if self._mirror:
            mirrored = counter_random.uniform(*keys, counter_random.MIRROR_STREAM) < 0.5
        return SceneBatch(
            torch.from_numpy(index).to(device, non_blocking=True),
            torch.from_numpy(mirrored).to(device, non_blocking=True),
        )

    def get_state(self) -> dict[str, list[int]]:
        """The whole state, as lists of integers."""
        return {"seeds": self.seeds.tolist(), "episodes": self.episodes.tolist()}

    def set_state(self, state: dict[str, list[int]]) -> None:
        """Continue from a state of `get_state`.

        Raises:
            InputError: If it belongs to another number of groups.
        """
        seeds, episodes = (np.array(state[key], np.int64) for key in ("seeds", "episodes"))
        if seeds.shape != self.seeds.shape or episodes.shape != seeds.shape:
            raise InputError(f"state is for {len(seeds)} groups, this has {len(self.seeds)}")
        self.seeds, self.episodes = seeds, episodes
