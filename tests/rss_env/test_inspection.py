"""Summaries and contact sheets of data sets."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from rss_env.datasets import open_dataset
from rss_env.errors import InputError
from rss_env.inspection import contact_sheet, summarise
from rss_env.rendering import HEAD_HEIGHT


def test_info_refuses_broken_data(folder_data, tmp_path):
    labels = tmp_path / "labels"
    shutil.copytree(folder_data["labels"], labels)
    (labels / "photo 1.png").write_bytes(b"")
    dataset = open_dataset("Folder", **{**folder_data, "labels": str(labels)})
    with pytest.raises(InputError, match=r"photo 1.png: the file is empty .*\(1 fault\(s\) in all"):
        summarise(dataset, progress=False)


def test_the_contact_sheet_shows_the_samples_and_the_classes_there(folder_data):
    dataset = open_dataset("Folder", **folder_data)
    sheet = np.array(contact_sheet(dataset, (32, 32), rows=2, columns=2))
    assert (sheet[:HEAD_HEIGHT] < 128).any()  # words over the columns
    sheet = sheet[HEAD_HEIGHT:]
    image, _ = dataset.read(0, (32, 32))
    np.testing.assert_array_equal(sheet[:32, :32], image)
    assert sheet.shape[1] == 6 * (32 + 4) - 4
    below = sheet[2 * (32 + 4) - 4 :].reshape(-1, 3)
    for colour in dataset.palette:
        assert (below == colour).all(1).any()
