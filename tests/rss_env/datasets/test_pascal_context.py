"""Pascal Context: two forms of labels, two orders of classes, 59 or 60 of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tyro
from conftest import random_labels
from scipy.io import savemat

from rss_agents.training.config import TrainConfig
from rss_env.datasets import open_dataset
from rss_env.datasets.base import voc_palette
from rss_env.datasets.pascal_context import CLASS_NAMES
from rss_env.errors import DatasetError, InputError

# Names as the official 59_labels.txt spells them where it differs from labels.txt.
OFFICIAL_SPELLING = {"table": "diningtable", "cloth": "clothes", "bedclothes": "bedcloth"}


def numbered(names) -> str:
    return "".join(f"{i}: {name}\n" for i, name in enumerate(names, 1))


def read(root: Path, index: int = 0, split: str = "train", **options: Any) -> np.ndarray:
    label = open_dataset("PascalContext", root=str(root), split=split, **options).read(index)[1]
    assert label is not None
    return label


@pytest.fixture
def png_root(pascal_context_root, tmp_path) -> Path:
    root = tmp_path / "png"
    shutil.copytree(pascal_context_root, root)
    return root


@pytest.fixture
def mat_root(pascal_context_root, tmp_path) -> Path:
    """The same photographs with 459-class labels; the 59 have scattered values among them."""
    root = tmp_path / "mat"
    shutil.copytree(pascal_context_root, root)
    folder = root / "VOCdevkit/VOC2010"
    shutil.rmtree(folder / "SegmentationClassContext")
    names = sorted([*CLASS_NAMES, *(f"other thing {i:03d}" for i in range(400))])
    (root / "labels.txt").write_text(numbered(names))
    (root / "trainval").mkdir()
    value = {name: i for i, name in enumerate(names, 1)}
    for i in range(5):
        chosen = [value[n] for n in ("aeroplane", "wood", "table", "other thing 007")]
        labels = random_labels(i, [0, *chosen]).astype(np.uint16)
        savemat(root / "trainval" / f"2008_{i:06d}.mat", {"LabelMap": labels})
    return root


def test_classes_are_the_59_with_their_colours(pascal_context_root):
    dataset = open_dataset("PascalContext", root=str(pascal_context_root))
    assert dataset.num_classes == 59
    assert len(set(dataset.class_names)) == 59
    assert dataset.class_names[:2] == ("aeroplane", "bicycle")
    np.testing.assert_array_equal(dataset.palette, voc_palette(60)[1:])
    with_background = open_dataset("PascalContext", root=str(pascal_context_root), classes=60)
    assert with_background.class_names == ("background", *dataset.class_names)
    np.testing.assert_array_equal(with_background.palette, voc_palette(60))


def test_png_values_with_and_without_background(pascal_context_root):
    raw = random_labels(0, [0, 1, 2, 11, 59])
    expected = np.where(raw == 0, 255, raw.astype(int) - 1)
    np.testing.assert_array_equal(read(pascal_context_root), expected)
    np.testing.assert_array_equal(read(pascal_context_root, classes="60"), raw)


def test_alphabetical_pngs_mean_other_classes(pascal_context_root):
    raw = random_labels(0, [0, 1, 2, 11, 59])
    label = read(pascal_context_root, class_order="alphabetical")
    alphabet = sorted(CLASS_NAMES)
    for value in (1, 2, 11, 59):
        assert (label[raw == value] == CLASS_NAMES.index(alphabet[value - 1])).all()
    assert alphabet[1] == "bag"  # where the official order has the bicycle


def test_class_name_file_is_held_against_the_order(png_root):
    folder = png_root / "VOCdevkit/VOC2010"
    official = [OFFICIAL_SPELLING.get(name, name) for name in CLASS_NAMES]
    (png_root / "59_labels.txt").write_text(numbered(official))
    read(png_root)
    with pytest.raises(
        DatasetError, match="says that 2 is 'bicycle', but with class_order='alphabetical'"
    ):
        read(png_root, class_order="alphabetical")
    (folder / "class_names.txt").write_text("\n".join(["background", *sorted(CLASS_NAMES)]))
    (png_root / "59_labels.txt").unlink()
    read(png_root, class_order="alphabetical")
    with pytest.raises(DatasetError, match="pass class_order='alphabetical'"):
        read(png_root)
    (folder / "class_names.txt").write_text("\n".join(CLASS_NAMES[:-1]))
    with pytest.raises(DatasetError, match="says that 59 is None, but .* it is 'wood'"):
        read(png_root)


def test_other_folder_names_and_official_splits(png_root):
    folder = png_root / "VOCdevkit/VOC2010"
    expected = read(png_root, split="val")
    (folder / "SegmentationClassContext").rename(png_root / "59_context_labels")
    (folder / "ImageSets/SegmentationContext").rename(folder / "ImageSets/Main")
    (folder / "ImageSets/Main/cow_train.txt").write_text("2008_000000 -1\n")
    np.testing.assert_array_equal(read(png_root, split="val"), expected)
    with pytest.raises(InputError, match="unknown PascalContext split 'cow_train'; valid: tr.*val"):
        read(png_root, split="cow_train")


def test_matlab_labels_are_found_by_name(mat_root):
    raw = random_labels(0, [0, 1, 2, 3, 4])  # the same places as in the fixture
    expected = np.full(raw.shape, 255)
    for value, name in ((1, "aeroplane"), (2, "wood"), (3, "table")):
        expected[raw == value] = CLASS_NAMES.index(name)
    np.testing.assert_array_equal(read(mat_root), expected)
    with_background = np.where(expected == 255, 0, expected + 1)
    np.testing.assert_array_equal(read(mat_root, classes=60), with_background)


def test_faults_of_matlab_labels(mat_root):
    names = mat_root / "labels.txt"
    complete = names.read_text()
    path = mat_root / "trainval/2008_000000.mat"
    good = path.read_bytes()
    for content, message in (
        (b"", "cannot read label .*2008_000000.mat"),
        (good[: len(good) // 2], "cannot read label .*2008_000000.mat"),
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            read(mat_root)
    savemat(path, {"Labels": np.zeros((48, 64))})
    with pytest.raises(DatasetError, match="no variable LabelMap"):
        read(mat_root)
    savemat(path, {"LabelMap": np.full((48, 64), 460, np.uint16)})
    with pytest.raises(DatasetError, match="holds the value 460 .* valid: 0..459 .*labels.txt"):
        read(mat_root)
    savemat(path, {"LabelMap": np.full((48, 64), 0.5)})
    with pytest.raises(DatasetError, match="LabelMap is not a matrix of integers"):
        read(mat_root)
    names.write_text(complete.replace(": wood\n", ": timber\n"))
    with pytest.raises(DatasetError, match="labels.txt lacks 1 of the 59 classes, first 'wood'"):
        read(mat_root)
    names.write_text(complete + "1: again\n")
    with pytest.raises(DatasetError, match="names the value 1 twice"):
        read(mat_root)
    names.unlink()
    with pytest.raises(DatasetError, match="needs labels.txt beside it"):
        read(mat_root)


def test_missing_labels_and_bad_arguments(png_root):
    with pytest.raises(InputError, match="classes must be 59 or 60, got 33"):
        read(png_root, classes=33)
    with pytest.raises(InputError, match="unknown class_order 'latin'; valid: official, alph"):
        read(png_root, class_order="latin")
    shutil.rmtree(png_root / "VOCdevkit/VOC2010/SegmentationClassContext")
    with pytest.raises(DatasetError, match="no Pascal Context labels; expected layout: .*labels"):
        read(png_root)


def test_environments_and_their_defaults(pascal_context_root):
    options: dict[str, Any] = {"root": str(pascal_context_root)}
    env: Any = gym.make("RSS/PascalContext-ImageReward-v0", **options).unwrapped
    assert env.observation_space.shape == (128, 128, 3)
    assert env.geometry.scales == (32, 16, 8, 4)
    assert env.geometry.num_classes == 59
    env = gym.make("RSS/PascalContext-PixelReward-v0", classes=60, **options).unwrapped
    assert env.geometry.num_classes == 60


def test_commands_take_its_arguments(pascal_context_root):
    arguments = ["--root", str(pascal_context_root), "--classes", "60"]
    arguments += ["--env", "RSS/PascalContext-ImageReward-v0", "--out", "unused"]
    data = tyro.cli(TrainConfig, args=[*arguments, "--class-order", "alphabetical"]).data
    raw = random_labels(0, [0, 1, 2, 11, 59])
    label = data.open("train").read(0)[1]
    assert label is not None
    assert (label[raw == 0] == 0).all()
    assert (label[raw == 2] == 1 + CLASS_NAMES.index("bag")).all()
