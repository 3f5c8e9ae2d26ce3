"""Which files are images: one rule for every reader, and a note of what was left out."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import random_labels, write_sample
from PIL import Image

from rss_env.datasets import open_dataset
from rss_env.datasets.base import FileDataset
from rss_env.datasets.image_files import find_images
from rss_env.datasets.scanning import check_dataset
from rss_env.errors import DatasetError, DatasetWarning

PIXELS = np.zeros((8, 8, 3), np.uint8)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path, "PNG")


@pytest.fixture
def folder(tmp_path) -> dict[str, str]:
    for name in ("a", "sub/b"):
        write_sample(
            tmp_path / f"photos/{name}.png",
            tmp_path / f"masks/{name}.png",
            random_labels(0, [0, 1]),
        )
    return {"images": str(tmp_path / "photos"), "labels": str(tmp_path / "masks"), "classes": "2"}


def test_linked_folders_are_looked_through_once(tmp_path):
    picture(tmp_path / "elsewhere/deep/x.png")
    picture(tmp_path / "photos/real/y.png")
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")  # a loop over two links
    (tmp_path / "photos/a").symlink_to(tmp_path / "photos/real")  # sorts before what it leads to
    (tmp_path / "photos/nothing").symlink_to(tmp_path / "gone")
    found = find_images(tmp_path / "photos")
    assert list(found.files) == ["linked/deep/x", "real/y"]
    assert found.files["linked/deep/x"].is_file()
    assert "2 link(s) to a folder that is read already" in found.note()


def test_linked_folders_make_a_data_set(folder, tmp_path):
    for role in ("photos", "masks"):
        shutil.move(tmp_path / role / "sub", tmp_path / f"{role} of another disk")
        (tmp_path / role / "sub").symlink_to(tmp_path / f"{role} of another disk")
    assert len(open_dataset("Folder", **folder)) == 2


@pytest.mark.parametrize(
    "name",
    [
        "._x.png",
        ".x.png",
        ".ipynb_checkpoints/x-checkpoint.png",
        "__MACOSX/x.png",
        "@eaDir/x.jpg/thumb.png",
        "$RECYCLE.BIN/x.png",
    ],
)
def test_what_systems_and_editors_keep_is_no_image(tmp_path, name):
    picture(tmp_path / "x.png")
    picture(tmp_path / name)
    found = find_images(tmp_path)
    assert list(found.files) == ["x"]
    assert f"1 hidden or of the system ({name.split('/')[0]})" in found.note()


def test_a_hidden_folder_that_was_asked_for_is_read(tmp_path):
    picture(tmp_path / ".cache/photos/x.png")
    assert list(find_images(tmp_path / ".cache" / "photos").files) == ["x"]


def test_jfif_is_read_and_other_formats_are_counted(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.jfif", "JPEG")
    Image.fromarray(PIXELS).save(tmp_path / "b.gif")
    for name in ("c.HEIC", "d.heic", "e", "Thumbs.db", "desktop.ini", ".DS_Store"):
        (tmp_path / name).write_bytes(b"something")
    found = find_images(tmp_path)
    assert list(found.files) == ["a"]
    assert found.note() == (
        f"images folder {tmp_path}: left out 1 .gif (b.gif), 2 .heic (c.HEIC), 1 without a suffix "
        "(e); read are .jpg, .jpeg, .jfif, .png, .bmp, .webp, .tif, .tiff"
    )


def test_a_folder_of_nothing_but_other_formats_says_which(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"something")
    with pytest.raises(DatasetError, match=r"holds no image; .* left out 1 .heic \(a.heic\)"):
        find_images(tmp_path)


def test_a_folder_of_images_alone_has_no_note(tmp_path):
    picture(tmp_path / "a/b.png")
    (tmp_path / ".DS_Store").write_bytes(b"something")
    assert find_images(tmp_path).note() == ""


def test_what_is_left_out_is_warned_of_once(folder, tmp_path):
    (tmp_path / "photos/c.heic").write_bytes(b"something")
    for number in range(5):
        picture(tmp_path / f"masks/unused{number}.png")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        open_dataset("Folder", **folder)
        open_dataset("Folder", **folder)
    messages = [str(w.message) for w in warned if w.category is DatasetWarning]
    assert len(messages) == 2
    assert "photos: left out 1 .heic (c.heic); read are" in messages[0]
    assert "masks: 5 label(s) have no image: unused0, unused1, unused2 and 2 more" in messages[1]
    (report,) = check_dataset("Folder", progress=False, **folder)
    assert report.notes[:2] == tuple(messages)


def test_names_that_end_otherwise_are_noted_unless_they_are_the_other_role(tmp_path):
    for stem in ("x", "y"):
        write_sample(
            tmp_path / f"{stem}_rgb.png", tmp_path / f"{stem}_mask.png", random_labels(0, [0, 1])
        )
    options = {"images": str(tmp_path), "labels": str(tmp_path), "classes": 2}
    options |= {"image_ending": "_rgb", "label_ending": "_mask"}
    whole = open_dataset("Folder", **options)
    assert isinstance(whole, FileDataset)
    assert whole.notes == ()
    picture(tmp_path / "x_colour.png")
    with pytest.warns(DatasetWarning, match=r"left out 1 not named \*_rgb \(x_colour.png\)"):
        odd = open_dataset("Folder", **options)
    assert isinstance(odd, FileDataset)
    assert len(odd.notes) == 1


def test_cityscapes_takes_the_same_rule(cityscapes_root, tmp_path):
    root = shutil.copytree(cityscapes_root, tmp_path / "city")
    for kind, end in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        folder = root / kind / "train/aachen"
        picture(folder / f"._aachen_000000_000019_{end}.png")
        shutil.move(root / kind / "train/bochum", tmp_path / f"bochum of {kind}")
        (root / kind / "train/bochum").symlink_to(tmp_path / f"bochum of {kind}")
    (root / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png").unlink()
    with pytest.warns(DatasetWarning, match="1 label.s. have no image: train/aachen/aachen_000001"):
        dataset = open_dataset("Cityscapes", root=str(root))
    assert len(dataset) == 3


def test_voc_takes_the_same_rule(voc_root, tmp_path):
    root = shutil.copytree(voc_root, tmp_path / "voc")
    folder = root / "VOCdevkit/VOC2012"
    write_sample(
        folder / "JPEGImages/2007_000009.jpg",
        folder / "SegmentationClassAug/2007_000009.png",
        random_labels(0, [0, 1]),
    )
    picture(folder / "SegmentationClassAug/._2007_000009.png")
    (folder / "ImageSets/Segmentation/._train.txt").write_bytes(b"\x00\x05\x16\x07")
    assert len(open_dataset("VOC", root=str(root), split="train_aug")) == 5
    reports = check_dataset("VOC", progress=False, root=str(root))
    assert [report.split for report in reports] == ["train", "train_aug", "trainval", "val"]
