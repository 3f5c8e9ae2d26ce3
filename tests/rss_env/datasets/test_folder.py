"""Folders of images and labels: how they are paired."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from conftest import random_labels, write_sample

from rss_env.datasets import open_dataset
from rss_env.datasets.base import FileDataset
from rss_env.errors import InputError


@pytest.fixture
def paired(tmp_path) -> Path:
    """Photographs and masks in one folder, told apart by what their names end in."""
    for i in range(3):
        write_sample(
            tmp_path / f"all/x{i}_rgb.jpg",
            tmp_path / f"all/x{i}_mask.png",
            random_labels(i, [0, 1]),
            i,
        )
    return tmp_path


def test_folder_pairs_by_ending(paired):
    folder = str(paired / "all")
    options = {"images": folder, "labels": folder, "classes": 2}
    options |= {"image_ending": "_rgb", "label_ending": "_mask"}
    dataset = open_dataset("Folder", **options)
    assert len(dataset) == 3
    _, label = dataset.read(1)
    np.testing.assert_array_equal(label, random_labels(1, [0, 1]))
    (paired / "some.txt").write_text("x2_rgb.jpg\nx0\n")
    some = open_dataset("Folder", **options, split=str(paired / "some.txt"))
    np.testing.assert_array_equal(some.read(0)[1], random_labels(2, [0, 1]))


def test_folder_with_one_ending(paired):
    for path in (paired / "all").glob("*_rgb.jpg"):
        path.rename(path.with_name(path.name.replace("_rgb", "")))
    folder = str(paired / "all")
    options = {"images": folder, "labels": folder, "classes": 2, "label_ending": "_mask"}
    assert len(open_dataset("Folder", **options)) == 3
    with pytest.raises(InputError, match=r"holds no image named \*_gt"):
        open_dataset("Folder", **{**options, "label_ending": "_gt"})


def test_folder_pairs_by_list(paired):
    (paired / "pairs.txt").write_text("x0_rgb.jpg\tx1_mask.png\nx2_rgb.jpg\tx2_mask.png\n")
    options = {"images": str(paired / "all"), "labels": str(paired / "all"), "classes": 2}
    options |= {"image_ending": "_rgb", "label_ending": "_mask"}
    dataset = open_dataset("Folder", **options, split=str(paired / "pairs.txt"))
    np.testing.assert_array_equal(dataset.read(0)[1], random_labels(1, [0, 1]))
    (paired / "pairs.txt").write_text("x0_rgb.jpg\tx9_mask.png\n")
    with pytest.raises(InputError, match=r"1 missing file\(s\), first .*x9_mask.png"):
        open_dataset("Folder", **options, split=str(paired / "pairs.txt"))


def spelt(name: str, form: Literal["NFC", "NFD"]) -> str:
    return unicodedata.normalize(form, name)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_encoded_either_way(tmp_path, forms):
    """Names as macOS writes them beside names as everybody else does."""
    one, other = forms
    for i, name in enumerate(("sub é/café", "plain", "naïve")):
        write_sample(
            tmp_path / "photos" / f"{spelt(name, one)}.png",
            tmp_path / "masks" / f"{spelt(name, other)}.png",
            random_labels(i, [0, 1]),
            i,
        )
    options = {"images": str(tmp_path / "photos"), "labels": str(tmp_path / "masks"), "classes": 2}
    whole = open_dataset("Folder", **options)
    assert isinstance(whole, FileDataset)
    assert len(whole) == 3
    assert whole.notes == ()
    np.testing.assert_array_equal(whole.read(2)[1], random_labels(0, [0, 1]))
    listed = tmp_path / "list.txt"
    for line in ("sub é/café", "sub é/café.png", "sub é/café.png\tsub é/café.png"):
        listed.write_text(spelt(line, other) + "\n", encoding="utf-8")
        dataset = open_dataset("Folder", **options, split=str(listed))
        np.testing.assert_array_equal(dataset.read(0)[1], random_labels(0, [0, 1]))


def test_names_that_differ_in_encoding_alone_stay_apart_where_both_are_there(tmp_path):
    for i, form in enumerate(("NFC", "NFD")):
        name = spelt("é", form)
        write_sample(
            tmp_path / f"photos/{name}.png",
            tmp_path / f"masks/{name}.png",
            random_labels(i, [0, 1]),
        )
    options = {"images": str(tmp_path / "photos"), "labels": str(tmp_path / "masks"), "classes": 2}
    dataset = open_dataset("Folder", **options)
    assert isinstance(dataset, FileDataset)
    assert dataset.labels is not None
    assert [path.stem for path in dataset.images] == [path.stem for path in dataset.labels]


def test_lists_of_other_data_sets_may_encode_accents_either_way(voc_root, tmp_path):
    root = shutil.copytree(voc_root, tmp_path / "voc")
    folder = root / "VOCdevkit/VOC2012"
    name = spelt("été", "NFD")
    write_sample(
        folder / f"JPEGImages/{name}.jpg",
        folder / f"SegmentationClass/{name}.png",
        random_labels(0, [0, 1]),
    )
    listed = tmp_path / "list.txt"
    listed.write_text(spelt("été", "NFC") + "\n", encoding="utf-8")
    assert len(open_dataset("VOC", root=str(root), split=str(listed))) == 1
