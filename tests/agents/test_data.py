"""`rss-data check` and `info`: every planted defect is named, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_labels
from PIL import Image

from data_command import arguments_of, run
from rss_env.datasets import open_dataset
from rss_env.datasets.scanning import check_dataset
from rss_env.scenes import Scenes


@pytest.mark.parametrize(
    ("name", "spelling", "splits"),
    [
        ("VOC", "voc", {"train": 4, "val": 2, "trainval": 6}),
        ("PascalContext", "pascal-context", {"train": 3, "val": 2}),
        ("Cityscapes", "CityScapes", {"train": 4, "val": 2}),
        ("Folder", "folder", {"all": 5}),
    ],
)
def test_sound_data_pass(capsys, data_options, name, spelling, splits):
    code, output = run(capsys, "check", spelling, *arguments_of(data_options[name]))
    assert code == 0, output
    assert f"{name}: no defect" in output
    rows = [line.split() for line in output.splitlines()]
    counts = {row[0]: row[1:] for row in rows if row and row[0] in splits}
    assert counts == {split: [str(count), "0"] for split, count in splits.items()}
    reports = check_dataset(name, progress=False, **data_options[name])
    assert {r.split: r.samples for r in reports} == splits


def test_every_defect_of_a_list_is_named(capsys, voc_root, tmp_path):
    root = tmp_path / "voc"
    shutil.copytree(voc_root, root)
    folder = root / "VOCdevkit/VOC2012"
    lists = folder / "ImageSets/Segmentation"
    (lists / "train.txt").write_text(
        "../../outside\n/etc/passwd\n2007_000000\n2007_000000\n2007_000004\n2007_999999\n"
    )
    (lists / "trainval.txt").write_text("\n")
    (folder / "SegmentationClass/2007_000005.png").unlink()
    code, output = run(capsys, "check", "voc", "--root", str(root))
    assert code == 1
    defects = [line for line in output.splitlines() if line.startswith("defect: ")]
    for expected in (
        "names '../../outside', which leads out of the data set",
        "names '/etc/passwd', which leads out of the data set",
        "split train lists",
        "trainval.txt is empty",
        "splits train and val share 1 image(s), first",
        "JPEGImages/2007_999999.jpg",
        "SegmentationClass/2007_999999.png",
        "SegmentationClass/2007_000005.png",
    ):
        assert any(expected in line for line in defects), expected
    assert len(defects) == len(set(defects))
    assert f"VOC: {len(defects)} defect(s)" in output


def test_a_split_that_cannot_be_opened_does_not_hide_the_others(capsys, cityscapes_root, tmp_path):
    root = tmp_path / "city"
    shutil.copytree(cityscapes_root, root)
    for path in (root / "leftImg8bit/train").glob("*/*.png"):
        path.unlink()
    bad = next((root / "gtFine/val").glob("*/*labelIds.png"))
    Image.fromarray(np.full((48, 64), 77, np.uint8)).save(bad)
    code, output = run(capsys, "check", "cityscapes", "--root", str(root))
    assert code == 1
    assert "train holds no image named *_leftImg8bit" in output
    assert f"label {bad} holds the value 77" in output
    assert "2 defect(s)" in output


def test_faults_of_the_command_line(capsys, tmp_path, voc_root):
    for arguments, message in (
        (["check", "ade20k"], "unknown data set 'ade20k'; valid: Shapes, VOC"),
        (["check", "shapes"], "Shapes is generated, or no FileDataset: it has no files to check"),
        (["check", "voc", "--root", str(tmp_path / "none")], "is not a folder; expected layout"),
        (
            ["check", "voc", "--images", "x", "--root", str(voc_root)],
            "unexpected keyword argument 'images'",
        ),
        (["info", "voc", "--root", str(voc_root), "--split", "nope"], "unknown VOC split 'nope'"),
        (["info", "voc", "--root", str(voc_root), "--sheet", str(tmp_path)], "--sheet must be a"),
    ):
        code, output = run(capsys, *arguments)
        assert code == 2, output
        assert message in output
        assert "Traceback" not in output


def test_the_cache_is_listed_rebuilt_and_cleared(capsys, folder_data, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("RSS_CACHE_DIR", str(cache))
    code, output = run(capsys, "cache")
    assert (code, output) == (0, f"0 file(s), 0.00 of at most 64 GiB (RSS_CACHE_GIB), in {cache}\n")
    dataset = open_dataset("Folder", **folder_data)
    Scenes(dataset, (16, 16), torch.device("cpu"))
    for arguments in (["cache"], ["cache", "--list"]):
        code, output = run(capsys, *arguments)
        assert code == 0
        (row,) = [line for line in output.splitlines() if line.startswith("Folder-samples-16x16")]
        assert f"5 images, {folder_data['images']}" in row
    check = ["check", "folder", *arguments_of(folder_data), "--rebuild"]
    code, output = run(capsys, *check)
    assert code == 0
    assert "\ncache: all: nothing is stale\n" in output
    (path,) = cache.glob("Folder-samples-*.npy")
    path.write_bytes(path.read_bytes()[:-5])
    code, output = run(capsys, *check)
    assert code == 0
    assert "cache: all: damaged: Folder-samples-16x16 of 5 images" in output
    code, output = run(capsys, "cache", "--clear", "--list")
    assert code == 2
    assert "give --list or --clear, not both" in output
    code, output = run(capsys, "cache", "--clear")
    assert (code, output.split(" file(s)")[0][:8]) == (0, "removed ")
    assert not [*cache.glob("*.npy"), *cache.glob("*.json")]
    monkeypatch.setenv("RSS_CACHE_DIR", "")
    assert run(capsys, "cache") == (0, "RSS_CACHE_DIR is empty: there is no cache\n")


def test_info_counts_and_draws(capsys, folder_data, tmp_path):
    sheet = tmp_path / "sheet.png"
    code, output = run(capsys, "info", "folder", *arguments_of(folder_data), "--sheet", str(sheet))
    assert code == 0, output
    labels = np.stack([random_labels(i, [0, 1, 2, 255]) for i in range(5)])
    valid = labels[labels != 255]
    for c, name in enumerate(("ground", "tree", "house")):
        row = next(line.split() for line in output.splitlines() if name in line.split())
        images = int((labels == c).any((1, 2)).sum())
        assert row == [str(c), name, f"{(valid == c).mean():.2%}", str(images)]
    assert "5 samples, 3 classes" in output
    assert "height: 48..48, width: 64..64" in output
    assert f"void: {(labels == 255).mean():.2%}" in output
    assert np.array(Image.open(sheet)).std() > 10


def test_the_contact_sheet_replaces_nothing_but_a_contact_sheet(
    capsys, folder_data, tmp_path, monkeypatch
):
    data = tmp_path / "folder"
    shutil.copytree(Path(folder_data["images"]).parent, data)
    photos, labels = data / "images", data / "labels"
    options = ["info", "folder", "--images", str(photos), "--classes", "3"]
    other = tmp_path / "other.png"
    shutil.copy(photos / "photo 0.png", other)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    for place, message in (
        (other, "did not write it"),
        (photos / "photo 0.png", "did not write it"),
        (photos / "new.png", "which holds the data"),
        (labels / "new.png", "which holds the data"),
    ):
        code, output = run(capsys, *options, "--labels", str(labels), "--sheet", str(place))
        assert code == 2
        assert message in output
    monkeypatch.chdir(photos)
    code, output = run(capsys, *options[:2], "--images", ".", "--classes", "3")
    assert code == 2
    assert "--sheet contact-sheet.png lies in ., which holds the data" in output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.png")} == before
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        code, output = run(capsys, *options)
        assert code == 0, output
    assert np.array(Image.open("contact-sheet.png")).std() > 10


def test_info_of_generated_scenes_and_of_images_alone(capsys, folder_data, tmp_path):
    sheet = str(tmp_path / "sheet.png")
    code, output = run(capsys, "info", "shapes", "--split", "test", "--sheet", sheet)
    assert code == 0, output
    assert "200 samples, 6 classes" in output
    unlabelled = {key: value for key, value in folder_data.items() if key != "labels"}
    code, output = run(capsys, "info", "folder", *arguments_of(unlabelled), "--sheet", sheet)
    assert code == 0, output
    assert "pixels" not in output
