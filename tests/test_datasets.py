"""Official layouts read as they should, and every fault told in one clear error."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from conftest import random_labels, write_sample
from PIL import Image

from rss_env.datasets import DATASETS, default_image_size, open_dataset
from rss_env.datasets.base import voc_palette
from rss_env.errors import DatasetError, InputError
from rss_env.registration import DATASET_NAMES


def test_names_of_the_registry_are_those_of_the_loaders():
    assert tuple(DATASETS) == DATASET_NAMES


def test_every_dataset_reads_samples(data_options):
    for name, options in data_options.items():
        dataset = open_dataset(name, **options)
        assert len(dataset) > 1
        assert dataset.palette.shape == (dataset.num_classes, 3)
        for size in ((16, 24), None):
            image, label = dataset.read(1, size)
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert label is not None
            assert label.dtype == np.uint8
            assert image.shape[:2] == label.shape
            assert ((label < dataset.num_classes) | (label == 255)).all()
            if size:
                assert label.shape == size


def test_voc_reads_indices_unchanged(voc_root):
    dataset = open_dataset("VOC", root=str(voc_root), split="val")
    assert dataset.num_classes == 21
    assert len(dataset) == 2
    _, label = dataset.read(0)
    np.testing.assert_array_equal(label, random_labels(4, [0, 1, 15, 20, 255]))


def test_voc_takes_a_list_file(voc_root, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("2007_000003\n\n2007_000001  1\n")
    assert len(open_dataset("VOC", root=str(voc_root), split=str(path))) == 2


def test_voc_palette_is_the_official_one():
    assert voc_palette(21)[[1, 2, 15, 20]].tolist() == [
        [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128]
    ]  # fmt: skip


def test_root_defaults_to_the_environment_variable(voc_root, tmp_path, monkeypatch):
    monkeypatch.delenv("RSS_DATA_ROOT", raising=False)
    with pytest.raises(DatasetError, match="RSS_DATA_ROOT"):
        open_dataset("VOC")
    (tmp_path / "VOC").symlink_to(voc_root)
    monkeypatch.setenv("RSS_DATA_ROOT", str(tmp_path))
    assert len(open_dataset("VOC")) == 4


def test_cityscapes_maps_label_ids_to_training_ids(cityscapes_root):
    dataset = open_dataset("Cityscapes", root=str(cityscapes_root))
    assert dataset.num_classes == 19
    assert dataset.class_names[0] == "road"
    assert len(dataset) == 4  # both cities
    _, label = dataset.read(0)
    assert label is not None
    raw = random_labels(0, [0, 7, 11, 26, 33])
    for label_id, train_id in ((0, 255), (7, 0), (11, 2), (26, 13), (33, 18)):
        assert (label[raw == label_id] == train_id).all()


def test_cityscapes_refuses_the_test_split(cityscapes_root):
    with pytest.raises(DatasetError, match="no public labels"):
        open_dataset("Cityscapes", root=str(cityscapes_root), split="test")


def test_folder_pairs_by_name_and_takes_lists(folder_data, tmp_path):
    dataset = open_dataset("Folder", **folder_data)
    assert dataset.class_names == ("ground", "tree", "house")
    assert len(dataset) == 5
    (tmp_path / "some.txt").write_text("photo_does_not_exist\n")
    with pytest.raises(DatasetError, match="no image file, first 'photo_does_not_exist'"):
        open_dataset("Folder", **folder_data, split=str(tmp_path / "some.txt"))
    counted = open_dataset("Folder", **{**folder_data, "classes": "3"})
    assert counted.num_classes == 3


def test_folder_without_labels(folder_data):
    options = {key: value for key, value in folder_data.items() if key != "labels"}
    dataset = open_dataset("Folder", **options)
    assert not dataset.has_labels
    assert dataset.read(0, (8, 8))[1] is None


def test_shapes_are_a_function_of_seed_split_and_index():
    first: Any = open_dataset("Shapes")
    second: Any = open_dataset("Shapes")
    for a, b in zip(first.read(7), second.read(7), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.read(7)[0] != first.read(8)[0]).any()
    assert (first.read(7)[0] != open_dataset("Shapes", split="val").read(7)[0]).any()
    assert (first.read(7)[0] != open_dataset("Shapes", scene_seed=1).read(7)[0]).any()


def test_shapes_hold_every_class():
    dataset: Any = open_dataset("Shapes", num_scenes=60)
    counts = np.sum([np.bincount(dataset.read(i)[1].ravel(), minlength=6) for i in range(60)], 0)
    assert (counts / counts.sum() > 0.01).all()


def _hue_spread(color_cue: float) -> float:
    """Mean distance of disc colours from their own mean, over scenes."""
    dataset: Any = open_dataset("Shapes", num_scenes=150, color_cue=color_cue)
    colours = []
    for i in range(150):
        image, label = dataset.read(i)
        if (label == 1).sum() > 50:
            colour = image[label == 1].mean(0)
            colours.append(colour / colour.sum())
    return float(np.std(colours, axis=0).mean())


def test_colour_cue_sets_how_much_hue_tells():
    assert _hue_spread(1.0) < 0.5 * _hue_spread(0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color_cue": 2.0}, r"color_cue must be in 0..1, got 2.0"),
        ({"num_scenes": 0}, "num_scenes must be at least 1"),
        ({"scene_seed": -1}, "scene_seed"),
        ({"split": "training"}, "unknown Shapes split 'training'; valid: train, val, test"),
        ({"root": "/tmp"}, "Shapes takes no argument 'root'; valid: split, color_cue"),
    ],
)
def test_bad_shapes_arguments(options, message):
    with pytest.raises(InputError, match=message):
        open_dataset("Shapes", **options)


def test_unknown_dataset_is_refused():
    with pytest.raises(InputError, match="unknown data set 'ADE20K'; valid: Shapes, VOC"):
        open_dataset("ADE20K")


def test_default_sizes():
    assert default_image_size("Shapes") == (64, 64)
    assert default_image_size("VOC") == (128, 128)
    assert default_image_size("Cityscapes") == (128, 256)


@pytest.fixture
def broken_voc(voc_root, tmp_path):
    root = tmp_path / "voc"
    shutil.copytree(voc_root, root)
    return root


def test_missing_root_and_layout(tmp_path, cityscapes_root):
    with pytest.raises(DatasetError, match="is not a folder; expected layout: VOCdevkit/VOC2012"):
        open_dataset("VOC", root=str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"VOC root .* lacks .*JPEGImages"):
        open_dataset("VOC", root=str(cityscapes_root))
    with pytest.raises(DatasetError, match=r"Cityscapes root .* lacks .*leftImg8bit"):
        open_dataset("Cityscapes", root=str(tmp_path))


def test_unknown_and_empty_splits(broken_voc):
    with pytest.raises(InputError, match="unknown VOC split 'nope'; valid: train, trainval, val"):
        open_dataset("VOC", root=str(broken_voc), split="nope")
    lists = broken_voc / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    (lists / "train.txt").write_text("\n \n")
    with pytest.raises(DatasetError, match="train.txt is empty"):
        open_dataset("VOC", root=str(broken_voc))
    (lists / "train.txt").write_text("../../../etc/passwd\n")
    with pytest.raises(DatasetError, match="leads out of the data set"):
        open_dataset("VOC", root=str(broken_voc))
    (lists / "train.txt").write_text("2007_999999\n")
    with pytest.raises(DatasetError, match=r"2 missing file\(s\), first .*2007_999999.jpg"):
        open_dataset("VOC", root=str(broken_voc))


@pytest.mark.parametrize("fault", ["truncated", "text", "empty"])
@pytest.mark.parametrize("role", ["JPEGImages", "SegmentationClass"])
def test_unreadable_files(broken_voc, fault, role):
    path = next((broken_voc / "VOCdevkit/VOC2012" / role).glob("2007_000000.*"))
    content = path.read_bytes()
    path.write_bytes(
        {"truncated": content[: len(content) // 2], "text": b"hello", "empty": b""}[fault]
    )
    kind = "image" if role == "JPEGImages" else "label"
    with pytest.raises(DatasetError, match=rf"cannot read {kind} .*2007_000000"):
        open_dataset("VOC", root=str(broken_voc)).read(0)


def test_label_value_outside_the_classes(broken_voc):
    folder = broken_voc / "VOCdevkit/VOC2012"
    values = np.zeros((16, 16), np.uint8)
    values[3, 5] = 21
    write_sample(
        folder / "JPEGImages/2007_000000.jpg", folder / "SegmentationClass/2007_000000.png", values
    )
    with pytest.raises(DatasetError, match="holds the value 21 at row 3, column 5; valid: 0..20"):
        open_dataset("VOC", root=str(broken_voc)).read(0)


def test_sixteen_bit_label_value(broken_voc):
    folder = broken_voc / "VOCdevkit/VOC2012"
    values = np.full((48, 64), 300, np.uint16)
    Image.fromarray(values).save(folder / "SegmentationClass/2007_000000.png")
    with pytest.raises(DatasetError, match="holds the value 300"):
        open_dataset("VOC", root=str(broken_voc)).read(0)


def test_label_of_another_size_and_of_colours(broken_voc):
    folder = broken_voc / "VOCdevkit/VOC2012"
    path = folder / "SegmentationClass/2007_000000.png"
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(path)
    with pytest.raises(DatasetError, match="is 48x64 but label .* is 10x12"):
        open_dataset("VOC", root=str(broken_voc)).read(0)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    with pytest.raises(DatasetError, match="has mode RGB"):
        open_dataset("VOC", root=str(broken_voc)).read(0)


def test_folder_faults(folder_data, tmp_path):
    with pytest.raises(DatasetError, match="Folder needs images="):
        open_dataset("Folder", images=folder_data["images"])
    with pytest.raises(DatasetError, match="does not exist"):
        open_dataset("Folder", **{**folder_data, "labels": str(tmp_path / "none")})
    with pytest.raises(DatasetError, match="holds no image; valid suffixes"):
        open_dataset("Folder", **{**folder_data, "images": str(tmp_path)})
    with pytest.raises(DatasetError, match="unknown Folder split 'train'; valid: 'all' or"):
        open_dataset("Folder", **folder_data, split="train")
    with pytest.raises(DatasetError, match="classes '1' gives 1 classes; valid: 2..255"):
        open_dataset("Folder", **{**folder_data, "classes": "1"})
    with pytest.raises(DatasetError, match="cannot read list"):
        open_dataset("Folder", **{**folder_data, "classes": str(tmp_path / "none.txt")})
    few = tmp_path / "few"
    shutil.copytree(folder_data["labels"], few)
    (few / "photo 2.png").unlink()
    with pytest.raises(DatasetError, match="1 of 5 samples have no label file, first 'photo 2'"):
        open_dataset("Folder", **{**folder_data, "labels": str(few)})
    Image.new("RGB", (4, 4)).save(few / "photo 2.bmp")
    Image.new("RGB", (4, 4)).save(few / "photo 2.png")
    with pytest.raises(DatasetError, match="share the name 'photo 2'"):
        open_dataset("Folder", **{**folder_data, "images": str(few)})
