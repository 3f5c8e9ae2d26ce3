"""Decoded samples and label counts of a data set: made, kept, found again, and made anew.

What is kept is known by the content of the files it was made from, whatever their sizes and times
say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import PIL
import torch
from tqdm import tqdm

from rss_env.array_cache import KeptArray, content_key, keep_array, place_stem
from rss_env.cache_files import CacheFile, cache_folder, check_array, list_cache, remove_array
from rss_env.datasets import SegmentationDataset
from rss_env.datasets.base import ByteArray, FileDataset
from rss_env.datasets.file_digests import FileContents
from rss_env.datasets.resizing import Resize, fit_image, fit_label
from rss_env.errors import InputError
from rss_env.kernels.label_table import count_dtype, label_table
from rss_env.version import __version__

_PROGRESS_BAR_FROM = 2000  # samples; smaller sets load in a moment
_PAD = "-pad"
_KINDS = re.compile(
    rf"(samples|label-counts)-(?P<height>\d+)x(?P<width>\d+)(?P<pad>{_PAD})?(-(?P<scale>\d+))?"
)


class SceneCache:
    """What is computed of a data set at one size.

    Attributes:
        image_size: (H, W) of the images.
        contents: What is in its files; None for a data set that is not one of files, and of which
            nothing is kept.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        image_size: tuple[int, int],
        resize: Resize,
        contents: FileContents | None = None,
    ):
        """Look what is in the files now.

        Args:
            dataset: The data set.
            image_size: (H, W) of the images.
            resize: See `load_scenes`.
            contents: What is in its files; None to look.

        Raises:
            DatasetError: If one cannot be read.
        """
        self._dataset, self.image_size = dataset, image_size
        self._resize: Resize = resize
        if contents is None and isinstance(dataset, FileDataset):
            contents = dataset.contents()
        self.contents = contents

    def samples(self) -> KeptArray:
        """All images (M, H, W, 3), and then all labels (M, H, W) if there are any, in one row.

        Raises:
            DatasetError: If a file cannot be used, or is replaced while it is read.
        """
        dataset, size = self._dataset, self.image_size

        def read() -> ByteArray:
            row = _read_all(dataset, size, self._resize)
            if self.contents is not None:
                self.contents.refuse_changes()
            return row

        length = (4 if dataset.has_labels else 3) * len(dataset) * size[0] * size[1]
        return self._keep(self.name("samples"), read, (length,), torch.uint8)

    def label_counts(self, labels: torch.Tensor, scale: int) -> KeptArray:
        """The table of labels (M, H, W) per cell of a scale; see `kernels.label_table`."""
        (height, width), classes = self.image_size, self._dataset.num_classes
        shape = (len(labels), (height // scale) * (width // scale), classes + 1)
        return self._keep(
            self.name("label-counts", scale),
            lambda: label_table(labels, classes, scale).numpy(),
            shape,
            count_dtype(scale),
        )

    def name(self, kind: str, scale: int | None = None) -> str:
        """The name by which something is kept."""
        height, width = self.image_size
        pad = _PAD if self._resize == "pad" else ""
        end = "" if scale is None else f"-{scale}"
        return f"{type(self._dataset).__name__}-{kind}-{height}x{width}{pad}{end}"

    def is_place_of(self, file: CacheFile) -> bool:
        """Tell whether a file is kept for this data set, of whatever content."""
        assert isinstance(self._dataset, FileDataset)
        return file.path.name.startswith(place_stem(file.name, (file.name, self._dataset.samples)))

    def is_of_this_content(self, file: CacheFile) -> bool:
        """Tell whether a file was made from what the data set's files hold."""
        return file.path.stem.endswith(content_key(self._content))

    @property
    def _content(self) -> tuple[str, str, str]:
        assert self.contents is not None
        return self.contents.digest, __version__, PIL.__version__

    def _keep(
        self,
        name: str,
        compute: Callable[[], npt.NDArray],
        shape: tuple[int, ...],
        dtype: torch.dtype,
    ) -> KeptArray:
        dataset = self._dataset
        if not isinstance(dataset, FileDataset):
            return KeptArray(compute())
        return keep_array(
            name,
            (name, dataset.samples),
            self._content,
            compute,
            shape=shape,
            dtype=torch.empty(0, dtype=dtype).numpy().dtype,
            about=f"{len(dataset)} images, {dataset.images[0]} first",
        )


def split_samples(
    row: ByteArray, count: int, image_size: tuple[int, int]
) -> tuple[ByteArray, ByteArray | None]:
    """Images (M, H, W, 3), and labels (M, H, W) if there are any, of a row of samples."""
    pixels = count * image_size[0] * image_size[1]
    images = row[: 3 * pixels].reshape(count, *image_size, 3)
    return images, row[3 * pixels :].reshape(count, *image_size) if len(row) > 3 * pixels else None


def _read_all(
    dataset: SegmentationDataset, image_size: tuple[int, int], resize: Resize
) -> ByteArray:
    count, pixels = len(dataset), image_size[0] * image_size[1]
    row = np.empty((4 if dataset.has_labels else 3) * count * pixels, np.uint8)
    images, labels = split_samples(row, count, image_size)

    def read(index: int) -> None:
        if resize == "pad":
            image, label = dataset.read(index)
            image = fit_image(image, image_size)
            label = None if label is None else fit_label(label, image_size)
        else:
            image, label = dataset.read(index, image_size)
        images[index] = image
        if labels is not None and label is not None:
            labels[index] = label

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(read, range(count))
        for _ in tqdm(done, "reading images", count, disable=count < _PROGRESS_BAR_FROM):
            pass
    return row


def rebuild_cache(dataset: FileDataset) -> list[str]:
    """Read all that is kept of a data set, and its files, and make anew what does not fit them.

    Args:
        dataset: The data set; what is kept of other selections of its files is left alone.

    Returns:
        What was stale or damaged, a sentence each.

    Raises:
        InputError: If there is no cache.
        DatasetError: If a file cannot be used.
    """
    folder = cache_folder()
    if folder is None:
        raise InputError("RSS_CACHE_DIR is empty: there is no cache to rebuild")
    told = []
    known, contents = dataset.contents(), dataset.contents(anew=True)
    if changed := contents.differing(known):
        told.append(
            f"stale: {len(changed)} file(s) have other content than their inode, size and times "
            f"were noted with, {changed[0]} first"
        )
    again = []
    for file in list_cache(folder):
        kind = _KINDS.fullmatch(file.name.removeprefix(f"{type(dataset).__name__}-"))
        if kind is None:
            continue
        size = (int(kind["height"]), int(kind["width"]))
        cache = SceneCache(dataset, size, "pad" if kind["pad"] else "stretch", contents)
        if cache.is_place_of(file) and (fault := _fault_of(file, cache)):
            told.append(f"{fault}: {file.name} of {file.about or 'this data set'} is made anew")
            remove_array(file.path)
            again.append((cache, kind["scale"]))
    for cache, scale in again:
        row = cache.samples()
        _, labels = split_samples(row.values, len(dataset), cache.image_size)
        if scale is not None and labels is not None:
            cache.label_counts(torch.from_numpy(labels), int(scale))
    return told


def _fault_of(file: CacheFile, cache: SceneCache) -> str:
    """What is wrong with a file; empty if nothing is."""
    if not cache.is_of_this_content(file):
        return "stale"
    try:
        check_array(file.path, np.load(file.path, mmap_mode="r"), again=True)
    except Exception:  # broken headers make the parser raise almost anything
        return "damaged"
    return ""
