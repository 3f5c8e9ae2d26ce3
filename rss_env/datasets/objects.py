"""Data sets made of objects of a program: arrays, lists of them, or a PyTorch `Dataset`."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Hashable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rss_env.datasets.base import SegmentationDataset, resized, voc_palette
from rss_env.datasets.class_file import read_classes
from rss_env.datasets.decoding import ByteArray
from rss_env.datasets.label_doubts import Counts, LabelDoubts, doubts_about_void
from rss_env.errors import DatasetError, InputError, check_value
from rss_env.labels import VOID

_IMAGE_KEYS, _LABEL_KEYS = ("image", "img", "pixel_values"), ("label", "mask", "labels")


def image_of(value: Any, what: str = "image") -> ByteArray:
    """An image as an array (H, W, 3) uint8.

    Args:
        value: An array (H, W, 3) or (H, W), a tensor (3, H, W), (1, H, W) or (H, W, 3), of uint8 or
            of floats in 0..1; or a PIL image.
        what: As messages should name it.

    Raises:
        DatasetError: If it is none of these.
    """
    import torch  # slow, and only for objects

    if isinstance(value, Image.Image):
        if value.mode[0] in "IF":  # converting would clip, not scale
            raise DatasetError(
                f"{what} has mode {value.mode}, more than 8 bits of grey; give it with 8 bits"
            )
        return np.array(value.convert("RGB"))
    try:
        array = (
            value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        )
    except ValueError as error:  # of lists of different lengths
        raise DatasetError(f"{what} is no array: {error}") from None
    first = isinstance(value, torch.Tensor)  # where channels are sought first
    if array.ndim == 3:
        is_first, is_last = array.shape[0] in (1, 3), array.shape[2] in (1, 3)
        if is_first and (first or not is_last):
            array = array.transpose(1, 2, 0)
        if array.shape[2] == 1:
            array = array[..., 0]
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, 2)
    is_image = array.ndim == 3 and array.shape[2] == 3 and array.size > 0
    if not is_image or array.dtype.kind not in "biuf":
        raise DatasetError(
            f"{what} must be (H, W, 3), (3, H, W) or (H, W), got {array.dtype} of shape "
            f"{np.shape(value)}"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:  # false for NaN
        return (array * 255).round().astype(np.uint8)
    raise DatasetError(
        f"{what} must be uint8, or of floats in 0..1 (as they are before they are normalised), got "
        f"{array.dtype} in {array.min()}..{array.max()}"
    )


def label_of(value: Any, num_classes: int, what: str = "label") -> ByteArray:
    """A label as an array (H, W) uint8 of classes 0..C-1 and 255 for void.

    Args:
        value: An array or a tensor (H, W) or (1, H, W) of whole numbers, or a PIL image of indices.
        num_classes: C.
        what: As messages should name it.

    Raises:
        DatasetError: If it is none of these.
    """
    import torch  # slow, and only for objects

    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.dtype.kind not in "biu":
        raise DatasetError(
            f"{what} must be (H, W) whole numbers, got {array.dtype} of shape {np.shape(value)}"
        )
    bad = array[(array != VOID) & ((array < 0) | (array >= num_classes))]
    if bad.size:
        raise DatasetError(
            f"{what} holds the value {bad[0]}; valid: 0..{num_classes - 1}, and {VOID} for void"
        )
    return array.astype(np.uint8)


class ObjectDataset(SegmentationDataset):
    """Images, and labels if there are any, of a sequence of each; or samples of one sequence.

    What is read is kept by environments and trainings: a sample is read once. One thread reads at a
    time.
    """

    def __init__(self, samples: Any, labels: Any, class_names: Sequence[str], name: str):
        """Bind sequences; see `as_dataset`.

        Raises:
            InputError: If they are empty, or of different lengths.
        """
        self._samples, self._labels, self.name = samples, labels, name
        self._lock = threading.Lock()
        self.class_names = tuple(map(str, class_names))
        self.palette = voc_palette(len(self.class_names))
        check_value(len(samples) > 0, f"{name}: number of images", "at least 1", len(samples))
        if labels is not None and len(labels) != len(samples):
            raise InputError(f"{name}: {len(samples)} images and {len(labels)} labels")
        self._has_labels = labels is not None or _parts(self._sample(0))[1] is not None
        self.identity: Hashable = (name, object())  # another's is never the same
        if isinstance(samples, np.ndarray) and isinstance(labels, np.ndarray | None):
            found = hashlib.sha256(np.ascontiguousarray(samples).data)
            if labels is not None:
                found.update(np.ascontiguousarray(labels).data)
            shapes = (samples.shape, None if labels is None else labels.shape)
            self.identity = (found.hexdigest(), str(samples.dtype), shapes, self.class_names)
        import torch  # slow, and only for objects

        if isinstance(samples, (np.ndarray, torch.Tensor)):  # all are of one size
            self.default_image_size = image_of(samples[0]).shape[:2]

    def _sample(self, index: int) -> Any:
        try:
            return self._samples[index]
        except Exception as error:  # of whatever a data set's own code raises
            raise DatasetError(
                f"{self.name}: sample {index} raised {type(error).__name__}: {str(error)[:200]}"
            ) from error

    @property
    def has_labels(self) -> bool:
        """Tell whether samples come with label maps."""
        return self._has_labels

    def __len__(self) -> int:
        return len(self._samples)

    def doubts(self, class_pixels: Counts, void_pixels: Counts) -> LabelDoubts:
        """See `SegmentationDataset.doubts`: all are warnings, as no option says what 255 is."""
        samples = [f"sample {index}" for index in range(len(void_pixels))]
        found = doubts_about_void(
            class_pixels,
            void_pixels,
            self.class_names,
            samples,
            f"If {VOID} is a class, give labels of class indices, 0..{self.num_classes - 1}",
        )
        told = (f"{self.name}: {doubt}" for doubt in (*found.faults, *found.warnings))
        return LabelDoubts(warnings=tuple(told))

    def read(
        self, index: int, image_size: tuple[int, int] | None = None
    ) -> tuple[ByteArray, ByteArray | None]:
        """Convert and resize one sample; see `SegmentationDataset.read`."""
        where = f"{self.name}, sample {index}"
        with self._lock:
            image, label = _parts(self._sample(index))
            if self._labels is not None:
                label = self._labels[index]
        pixels = image_of(image, f"{where}: image")
        classes = None
        if self._has_labels:
            if label is None:
                raise DatasetError(f"{where} has no label, and others have")
            classes = label_of(label, self.num_classes, f"{where}: label")
            if classes.shape != pixels.shape[:2]:
                raise DatasetError(
                    f"{where}: the image is {pixels.shape[0]}x{pixels.shape[1]} but the label "
                    f"{classes.shape[0]}x{classes.shape[1]}"
                )
        return resized(Image.fromarray(pixels), classes, image_size)


def _parts(sample: Any) -> tuple[Any, Any]:
    """Image and label of a sample: a pair, a mapping, or an image alone."""
    if isinstance(sample, Mapping):
        image = next((sample[key] for key in _IMAGE_KEYS if key in sample), None)
        label = next((sample[key] for key in _LABEL_KEYS if key in sample), None)
        if image is None:
            raise DatasetError(
                f"a sample is a mapping without an image: it has {', '.join(map(str, sample))}; "
                f"valid: {', '.join(_IMAGE_KEYS)}, and {', '.join(_LABEL_KEYS)}"
            )
        return image, label
    if isinstance(sample, tuple) and len(sample) not in (1, 2):
        kinds = ", ".join(type(part).__name__ for part in sample)
        raise DatasetError(
            f"a sample is a tuple of {len(sample)} ({kinds}); valid: an image, or an image and its "
            "label"
        )
    if isinstance(sample, (tuple, list)) and len(sample) in (1, 2):
        return sample[0], sample[1] if len(sample) == 2 else None
    return sample, None


def as_dataset(
    data: Any, labels: Any = None, classes: int | str | Path | Sequence[str] | None = None
) -> SegmentationDataset:
    """A data set of objects.

    Args:
        data: Images: an array (N, H, W, 3), a tensor (N, 3, H, W), or a sequence of images as
            `image_of` takes them; or a PyTorch `Dataset` whose samples are pairs of an image and a
            label, images alone, or mappings with `image` and `label` or `mask`. A pair of images
            and labels is taken apart; a `SegmentationDataset` is returned as it is.
        labels: Labels of the images: an array (N, H, W), a tensor, or a sequence of labels as
            `label_of` takes them; None if the samples hold them, or there are none.
        classes: Names of the classes, how many, or a class file; None: those that the data set
            itself tells (`class_names`, `classes`), or as many as the labels of an array have.

    Raises:
        InputError: If it is not said how many classes there are, or the data cannot be used.
    """
    if isinstance(data, SegmentationDataset):
        if labels is not None or classes is not None:
            raise InputError("a SegmentationDataset brings its labels and classes itself")
        return data
    if isinstance(data, tuple) and len(data) == 2 and labels is None:
        data, labels = data
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise InputError(
            "data must be arrays or a Dataset with a length, whose samples have numbers; got "
            f"{type(data).__name__}"
        )
    name = type(data).__name__
    return ObjectDataset(data, labels, _names_of(data, labels, classes), name)


def _names_of(data: Any, labels: Any, classes: Any) -> Sequence[str]:
    if classes is None:
        told = (getattr(data, name, None) for name in ("class_names", "classes"))
        classes = next((names for names in told if names is not None), None)
    import torch  # slow, and only for objects

    if classes is None and isinstance(labels, (np.ndarray, torch.Tensor)):
        values = np.asarray(labels)
        known = values[values != VOID]
        classes = max(2, int(known.max()) + 1) if known.size else None
    if classes is None:
        raise InputError("say how many classes there are, or their names: classes=...")
    if isinstance(classes, (str, Path)):
        return read_classes(str(classes)).names
    if isinstance(classes, Integral):
        classes = [f"class {c}" for c in range(int(classes))]
    if isinstance(classes, Mapping) or not isinstance(classes, Iterable):
        raise InputError(
            f"classes must be names in the order of their indices, a class file or a number, got "
            f"{classes!r:.200}"
        )
    names = list(classes)
    check_value(2 <= len(names) <= VOID, "number of classes", f"in 2..{VOID}", len(names))
    twice = [one for one in names if names.count(one) > 1]
    if twice:
        raise InputError(f"classes name {twice[0]!r} twice")
    return names
