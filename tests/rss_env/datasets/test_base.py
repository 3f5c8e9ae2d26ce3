"""Official layouts read as they should, and every fault told in one clear error."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from conftest import random_labels, write_sample
from PIL import Image

from rss_env.datasets import DATASETS, default_image_size, open_dataset
from rss_env.datasets.base import FileDataset, voc_palette
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


@pytest.fixture
def augmented_voc(voc_root, tmp_path):
    """VOC with `SegmentationClassAug`: one label more, and another version of a training label."""
    root = tmp_path / "augmented"
    shutil.copytree(voc_root, root)
    folder = root / "VOCdevkit/VOC2012"
    for name, value in (("2008_000001", 7), ("2007_000000", 9), ("2007_000004", 11)):
        write_sample(
            folder / f"JPEGImages/{name}.jpg",
            folder / f"SegmentationClassAug/{name}.png",
            np.full((48, 64), value),
        )
    return root


def test_voc_augmented_split_without_a_list(augmented_voc):
    """Everything labelled, without the validation images; both label folders."""
    dataset: Any = open_dataset("VOC", root=str(augmented_voc), split="train_aug")
    names = ["2007_000000", "2007_000001", "2007_000002", "2007_000003", "2008_000001"]
    assert [path.stem for path in dataset.images] == names
    assert (dataset.read(0)[1] == 9).all()
    assert (dataset.read(4)[1] == 7).all()
    np.testing.assert_array_equal(dataset.read(1)[1], random_labels(1, [0, 1, 15, 20, 255]))
    plain: Any = open_dataset("VOC", root=str(augmented_voc), split="train")
    np.testing.assert_array_equal(plain.read(0)[1], random_labels(0, [0, 1, 15, 20, 255]))


@pytest.mark.parametrize(
    "place",
    ["Segmentation/train_aug.txt", "Segmentation/trainaug.txt", "SegmentationAug/train_aug.txt"],
)
@pytest.mark.parametrize(
    "line", ["{}", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png", "JPEGImages/{}.jpg"]
)
def test_voc_augmented_lists_as_they_go_round(augmented_voc, place, line):
    path = augmented_voc / "VOCdevkit/VOC2012/ImageSets" / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(line.format(n) + "\n" for n in ("2008_000001", "2007_000001")))
    for split in ("train_aug", "trainaug", str(path)):
        dataset: Any = open_dataset("VOC", root=str(augmented_voc), split=split)
        assert [p.stem for p in dataset.images] == ["2008_000001", "2007_000001"]
        assert (dataset.read(0)[1] == 7).all()


def test_voc_without_augmented_labels_has_no_such_split(voc_root):
    with pytest.raises(InputError, match="unknown VOC split 'train_aug'; valid: train, trainval"):
        open_dataset("VOC", root=str(voc_root), split="train_aug")


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


def test_cityscapes_refuses_the_test_split_in_lists(cityscapes_root, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("val/ulm/ulm_000000_000019\ntest/berlin/berlin_000000_000019\n")
    with pytest.raises(DatasetError, match="list.txt names 'test/berlin/.*no public labels"):
        open_dataset("Cityscapes", root=str(cityscapes_root), split=str(path))
    path.write_text("val/ulm/ulm_000001_000019_leftImg8bit.png\n")
    assert len(open_dataset("Cityscapes", root=str(cityscapes_root), split=str(path))) == 1


def test_cityscapes_takes_training_ids(cityscapes_root, tmp_path):
    root = tmp_path / "city"
    shutil.copytree(cityscapes_root, root)
    for path in (root / "gtFine").glob("*/*/*_labelIds.png"):
        label = np.array(Image.open(path))
        ids = np.full(256, 255, np.uint8)
        ids[[7, 11, 26, 33]] = [0, 2, 13, 18]
        train_ids = path.with_name(path.name.replace("labelIds", "labelTrainIds"))
        Image.fromarray(ids[label]).save(train_ids)
    options: dict[str, Any] = {"root": str(root)}
    by_ids: Any = open_dataset("Cityscapes", **options)
    assert by_ids.labels[0].name.endswith("labelIds.png")
    by_train_ids: Any = open_dataset("Cityscapes", **options, label_type="labelTrainIds")
    assert by_train_ids.labels[0].name.endswith("labelTrainIds.png")
    assert by_train_ids.identity != by_ids.identity
    for i in range(4):
        np.testing.assert_array_equal(by_train_ids.read(i)[1], by_ids.read(i)[1])
    for path in (root / "gtFine").glob("*/*/*_labelIds.png"):
        path.unlink()
    found: Any = open_dataset("Cityscapes", **options)
    assert found.labels == by_train_ids.labels
    with pytest.raises(InputError, match="unknown label_type 'color'; valid: labelIds, labelTrai"):
        open_dataset("Cityscapes", **options, label_type="color")
    with pytest.raises(DatasetError, match=r"4 missing file\(s\), first .*_labelIds.png"):
        open_dataset("Cityscapes", **options, label_type="labelIds")


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
        ({"num_scenes": 0}, "num_scenes must be a whole number of at least 1, got 0"),
        ({"scene_seed": -1}, "scene_seed"),
        ({"split": "training"}, "unknown Shapes split 'training'; valid: train, val, test"),
        (
            {"root": "/tmp"},
            "keyword argument 'root'; valid: split, color_cue",
        ),
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
    assert default_image_size("PascalContext") == (128, 128)
    assert default_image_size("Cityscapes") == (128, 256)


def test_loaders_report_every_fault_only_to_the_checker(voc_root):
    with pytest.raises(
        InputError, match="VOC got an unexpected keyword argument 'on_fault'; valid: root, split$"
    ):
        open_dataset("VOC", root=str(voc_root), on_fault=print)


def test_data_read_in_another_way_are_other_data(pascal_context_root):
    options: dict[str, Any] = {"root": str(pascal_context_root)}
    ways: list[dict[str, Any]] = [{}, {"classes": 60}, {"class_order": "alphabetical"}]
    identities = {open_dataset("PascalContext", **options, **more).identity for more in ways}
    assert len(identities) == 3


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


def test_images_of_a_list_are_left_out(tmp_path, voc_root, cityscapes_root):
    (tmp_path / "out.txt").write_text("2007_000001\n2007_000004\n")
    options: dict[str, Any] = {"root": str(voc_root), "split": "train"}
    whole = open_dataset("VOC", **options)
    rest = open_dataset("VOC", str(tmp_path / "out.txt"), **options)
    assert isinstance(whole, FileDataset)
    assert isinstance(rest, FileDataset)
    assert [path.stem for path in rest.images] == [f"2007_{i:06d}" for i in (0, 2, 3)]
    assert [path.stem for path in rest.labels or ()] == [path.stem for path in rest.images]
    assert len(whole) == 4
    assert rest.identity != whole.identity
    for read, told in zip(rest.read(1), whole.read(2), strict=True):
        assert (np.asarray(read) == np.asarray(told)).all()
    (tmp_path / "out.txt").write_text("train/aachen/aachen_000001_000019\n")
    rest = open_dataset("Cityscapes", str(tmp_path / "out.txt"), root=str(cityscapes_root))
    assert len(rest) == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("2007_000005", "names no image of the 4 it is to be left out of"),
        ("2007_000000\n2007_000001\n2007_000002\n2007_000003", "names every image of the 4"),
        ("2007_999999", r"names [12] missing file"),
    ],
)
def test_lists_that_leave_out_nothing_or_all_are_refused(names, message, tmp_path, voc_root):
    (tmp_path / "out.txt").write_text(names)
    with pytest.raises(DatasetError, match=message):
        open_dataset("VOC", str(tmp_path / "out.txt"), root=str(voc_root), split="train")


def test_only_files_can_be_left_out(tmp_path):
    for name in ("train", str(tmp_path / "out.txt")):
        with pytest.raises(InputError, match=r"exclude must be a list file \(.txt\) of images"):
            open_dataset("Shapes", name)
