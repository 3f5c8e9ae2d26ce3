"""Data sets of objects: every usual form of an image and of a label, and what is none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from rss_env import RSSVectorEnv
from rss_env.datasets import open_dataset
from rss_env.datasets.objects import as_dataset, image_of, label_of
from rss_env.errors import DatasetWarning, InputError
from rss_env.scenes import load_scenes

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]
LABEL = (GREY > 127).astype(np.uint8)
FLOATS = torch.from_numpy(PIXELS).permute(2, 0, 1) / 255


@pytest.mark.parametrize(
    "value",
    [
        PIXELS,
        PIXELS / 255,
        PIXELS.transpose(2, 0, 1),
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        FLOATS,
        Image.fromarray(PIXELS),
    ],
)
def test_forms_of_an_image(value):
    found = image_of(value)
    assert found.dtype == np.uint8
    assert (found == PIXELS).all()


@pytest.mark.parametrize("value", [GREY, GREY[..., None], GREY[None], Image.fromarray(GREY)])
def test_forms_of_a_grey_image(value):
    assert (image_of(value) == GREY[..., None]).all()


def test_three_by_three_images_are_read_as_their_kind_has_it():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert (image_of(image) == image).all()
    assert (image_of(torch.from_numpy(image)) == image.transpose(1, 2, 0)).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((FLOATS - 0.5) / 0.2, "of floats in 0..1 (as they are before they are normalised)"),
        (PIXELS.astype(np.int64), "must be uint8"),
        (np.full((4, 4, 3), np.nan), "of floats in 0..1"),
        (np.zeros((4, 4, 7), np.uint8), "got uint8 of shape (4, 4, 7)"),
        (np.zeros(4, np.uint8), "got uint8 of shape (4,)"),
    ],
)
def test_what_is_no_image_is_refused(value, message):
    with pytest.raises(InputError, match=re.escape(message)):
        image_of(value)


@pytest.mark.parametrize(
    "value",
    [LABEL, LABEL.astype(np.int64), torch.from_numpy(LABEL)[None], Image.fromarray(LABEL)],
)
def test_forms_of_a_label(value):
    found = label_of(value, 2)
    assert found.dtype == np.uint8
    assert (found == LABEL).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (LABEL + 1, "holds the value 2; valid: 0..1, and 255 for void"),
        (LABEL.astype(np.int64) - 1, "holds the value -1"),
        (LABEL / 2, "must be (H, W) whole numbers, got float64"),
        (PIXELS, "of shape (5, 7, 3)"),
    ],
)
def test_what_is_no_label_is_refused(value, message):
    with pytest.raises(InputError, match=re.escape(message)):
        label_of(value, 2)


class Samples(Dataset):
    def __init__(self, samples: list[Any]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


@pytest.mark.parametrize(
    "data",
    [
        (PIXELS[None], LABEL[None]),
        ([PIXELS], [LABEL]),
        Samples([(FLOATS, torch.from_numpy(LABEL).long())]),
        Samples([{"image": PIXELS, "mask": LABEL}]),
    ],
)
def test_forms_of_a_data_set(data):
    found = as_dataset(data, classes=2)
    assert (len(found), found.has_labels, found.class_names) == (1, True, ("class 0", "class 1"))
    image, label = found.read(0)
    assert (image == PIXELS).all()
    assert label is not None
    assert (label == LABEL).all()
    small, of_it = found.read(0, (4, 6))
    assert small.shape == (4, 6, 3)
    assert of_it is not None
    assert of_it.shape == (4, 6)


def test_images_alone_have_no_labels():
    for data in ([PIXELS], PIXELS[None], Samples([PIXELS]), Samples([{"image": PIXELS}])):
        found = as_dataset(data, classes=["ground", "tree"])
        assert not found.has_labels
        assert found.read(0)[1] is None


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {"classes": 2}, "number of images must be at least 1, got 0"),
        ([PIXELS], {}, "say how many classes there are"),
        ([PIXELS], {"classes": 1}, "number of classes must be in 2..255, got 1"),
        ([PIXELS], {"classes": ["a", "a"]}, "name 'a' twice"),
        ([PIXELS], {"classes": 2, "labels": [LABEL, LABEL]}, "1 images and 2 labels"),
        (5, {"classes": 2}, "must be arrays or a Dataset with a length"),
        (iter([PIXELS]), {"classes": 2}, "must be arrays or a Dataset with a length"),
    ],
)
def test_what_is_no_data_set_is_refused(data, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        as_dataset(data, **options)


def test_a_sample_that_fails_is_named():
    for sample, message in (
        ((PIXELS, LABEL[:3]), "sample 1: the image is 5x7 but the label 3x7"),
        ((PIXELS, None), "sample 1 has no label, and others have"),
        ((PIXELS, LABEL + 7), "sample 1: label holds the value"),
    ):
        found = as_dataset(Samples([(PIXELS, LABEL), sample]), classes=2)
        with pytest.raises(InputError, match=message):
            found.read(1)


def test_environments_take_one_that_is_open():
    data = as_dataset(np.stack([PIXELS[:4, :4]] * 3), np.stack([LABEL[:4, :4]] * 3))
    assert open_dataset(data) is data
    env = RSSVectorEnv(2, dataset=data, level="ImageReward", scales=(2, 1))
    observations, _ = env.reset(seed=0)
    assert (observations == PIXELS[:4, :4]).all()
    env.close()
    with pytest.raises(InputError, match="passed as an object takes no split"):
        open_dataset(data, split="val")


def test_labels_of_0_and_255_are_warned_of():
    """There is no option that says what 255 is, and it may be void."""
    labels = np.zeros((2, 8, 8), np.uint8)
    labels[:, :4] = 255
    data = as_dataset(np.zeros((2, 8, 8, 3), np.uint8), labels, classes=2)
    text = "only the values 0 and 255, sample 0 for one.* give labels of class indices, 0..1"
    with pytest.warns(DatasetWarning, match=text):
        load_scenes(data, (8, 8))


def test_pictures_of_more_than_8_bits_are_not_clipped():
    with pytest.raises(InputError, match="mode I;16, more than 8 bits"):
        image_of(Image.fromarray(np.full((4, 4), 30000, np.uint16)))


def test_a_tuple_of_three_is_refused_by_name():
    samples = [(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), "a.png")] * 2
    with pytest.raises(InputError, match=r"tuple of 3 \(ndarray, ndarray, str\)"):
        as_dataset(samples, classes=2)


def test_a_nested_list_that_is_no_array_is_refused():
    with pytest.raises(InputError, match="image is no array"):
        image_of([[1, 2], [3]])
    with pytest.raises(InputError, match="got <U1 of shape"):
        image_of(np.full((2, 2, 3), "a"))


def test_classes_may_be_a_file_or_a_number_of_numpy(tmp_path):
    images = np.zeros((1, 4, 4, 3), np.uint8)
    (tmp_path / "names.txt").write_text("sky\nroad\n")
    for file in (tmp_path / "names.txt", str(tmp_path / "names.txt")):
        assert as_dataset(images, classes=file).class_names == ("sky", "road")
    assert as_dataset(images, classes=np.int64(3)).num_classes == 3  # pyright: ignore
    assert as_dataset(images, classes="3").num_classes == 3


@pytest.mark.parametrize("classes", [3.0, {"sky": 0, "road": 1}])
def test_classes_without_an_order_are_refused(classes):
    with pytest.raises(InputError, match="names in the order of their indices"):
        as_dataset(np.zeros((1, 4, 4, 3), np.uint8), classes=classes)
