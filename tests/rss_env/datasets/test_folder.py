"""Folders of images and labels: how they are paired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import random_labels, write_sample

from rss_env.datasets import open_dataset
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
