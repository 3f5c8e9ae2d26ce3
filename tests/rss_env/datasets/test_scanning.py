"""Scans of data sets: faults and notes."""

from __future__ import annotations

import shutil

import numpy as np
from conftest import write_sample

from rss_env.datasets.scanning import check_dataset


def test_both_files_of_a_pair_are_looked_at(voc_root, tmp_path):
    root = tmp_path / "voc"
    shutil.copytree(voc_root, root)
    folder = root / "VOCdevkit/VOC2012"
    (folder / "JPEGImages/2007_000001.jpg").write_bytes(b"")
    (folder / "SegmentationClass/2007_000001.png").write_bytes(b"no picture")
    (train,) = check_dataset("VOC", root=str(root), split="train", progress=False)
    assert [fault.split(":")[0].split("/")[-1] for fault in train.faults] == [
        "2007_000001.jpg",
        "2007_000001.png",
    ]


def test_notes_tell_what_is_legal_but_odd(voc_root, tmp_path):
    root = tmp_path / "voc"
    shutil.copytree(voc_root, root)
    folder = root / "VOCdevkit/VOC2012"
    void = np.full((48, 64), 255)
    write_sample(
        folder / "JPEGImages/2007_000004.jpg", folder / "SegmentationClass/2007_000004.png", void
    )
    (val,) = check_dataset("VOC", root=str(root), split="val", progress=False)
    assert val.faults == ()
    assert "1 label(s) hold no class at all" in val.notes[0]
    assert "classes never occur: bicycle" in val.notes[1]
    assert "person" not in val.notes[1]
