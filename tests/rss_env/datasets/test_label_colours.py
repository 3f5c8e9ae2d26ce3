"""Masks in colours: exactly those of the class file, or named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from conftest import write_sample
from PIL import Image

from data_command import arguments_of, run
from rss_env.datasets import open_dataset
from rss_env.datasets.class_file import read_classes
from rss_env.errors import DatasetError
from rss_env.rendering import palette_image
from rss_env.vector_env import RSSVectorEnv

COLOURS = np.array([[0, 0, 0], [128, 64, 128], [255, 255, 255]], np.uint8)
LABEL = np.repeat([0, 1, 2, 1], 8)[None].repeat(24, 0).astype(np.uint8)
CLASSES = "ground 0 0 0\nwide road 128 64 128\nwall\t255 255 255\n"


def folder(root: Path, mask: Image.Image, classes: str = CLASSES) -> dict[str, str]:
    write_sample(root / "images/x.png", None, LABEL)
    (root / "labels").mkdir(exist_ok=True)
    mask.save(root / "labels/x.png")
    (root / "classes.txt").write_text(classes)
    names = {"images": "images", "labels": "labels", "classes": "classes.txt"}
    return {key: str(root / name) for key, name in names.items()}


def rgb(label: np.ndarray = LABEL) -> Image.Image:
    return Image.fromarray(COLOURS[label])


def in_another_order() -> Image.Image:
    """A palette file whose indices are no classes, as a program that shrinks files leaves it."""
    mask = palette_image(np.array([2, 0, 1], np.uint8)[LABEL], COLOURS[[1, 2, 0]])
    assert mask.mode == "P"
    return mask


@pytest.mark.parametrize(
    "mask",
    [rgb(), rgb().convert("RGBA"), in_another_order(), palette_image(LABEL, COLOURS)],
    ids=["RGB", "RGBA", "foreign palette", "own palette"],
)
def test_colours_become_classes(tmp_path, mask):
    dataset = open_dataset("Folder", **folder(tmp_path, mask))
    np.testing.assert_array_equal(dataset.read(0)[1], LABEL)
    assert dataset.class_names == ("ground", "wide road", "wall")
    np.testing.assert_array_equal(dataset.palette, COLOURS)


def test_values_of_grey_files_and_of_the_own_palette_are_classes(tmp_path):
    with_void = LABEL.copy()
    with_void[0, :5] = 255
    for mask in (Image.fromarray(with_void), palette_image(with_void, COLOURS)):
        dataset = open_dataset("Folder", **folder(tmp_path, mask))
        np.testing.assert_array_equal(dataset.read(0)[1], with_void)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_black_and_white(tmp_path, mode):
    label = (LABEL > 0).astype(np.uint8)
    mask = Image.fromarray(label * 255).convert(mode)
    classes = "ground 0 0 0\nthing 255 255 255\n"
    dataset = open_dataset("Folder", **folder(tmp_path, mask, classes))
    np.testing.assert_array_equal(dataset.read(0)[1], label)


@pytest.mark.parametrize("to_mode", ["RGB", "P"])
def test_an_offending_colour_is_named_with_its_place(tmp_path, capsys, to_mode):
    pixels = COLOURS[LABEL]
    pixels[3, 7:9] = (128, 64, 127)
    mask = Image.fromarray(pixels)
    mask = mask.quantize(16) if to_mode == "P" else mask
    code, output = run(capsys, "check", "folder", *arguments_of(folder(tmp_path, mask)))
    assert code == 1
    assert f"label {tmp_path / 'labels/x.png'} holds the colour 128 64 127 at row 3" in output
    assert "column 7, which is no class's (2 pixel(s) have no class's colour)" in output


def test_a_colour_may_be_void(tmp_path):
    pixels = COLOURS[LABEL]
    pixels[:2] = (9, 8, 7)
    options = folder(tmp_path, Image.fromarray(pixels))
    dataset = open_dataset("Folder", **options, void_values="9,8,7")
    label = dataset.read(0)[1]
    assert label is not None
    assert (label[:2] == 255).all()
    np.testing.assert_array_equal(label[2:], LABEL[2:])
    with pytest.raises(DatasetError, match="9 8 7"):
        open_dataset("Folder", **options).read(0)
    with pytest.raises(DatasetError, match="in void_values, and that of the class 'wide road'"):
        open_dataset("Folder", **options, void_values="128,64,128")


def test_said_values_count_and_colours_are_for_display(tmp_path):
    options = folder(tmp_path, Image.fromarray(LABEL * 100))
    dataset = open_dataset("Folder", **options, label_values=(0, 100, 200))
    np.testing.assert_array_equal(dataset.read(0)[1], LABEL)
    np.testing.assert_array_equal(dataset.palette, COLOURS)
    rgb().save(tmp_path / "labels/x.png")
    with pytest.raises(DatasetError, match="has mode RGB"):
        open_dataset("Folder", **options, label_values=(0, 100, 200)).read(0)


def test_transparent_pixels_have_no_colour(tmp_path):
    mask = rgb().convert("RGBA")
    mask.putpixel((5, 2), (0, 0, 0, 0))
    with pytest.raises(DatasetError, match="is transparent at row 2, column 5"):
        open_dataset("Folder", **folder(tmp_path, mask)).read(0)


def test_other_colours_are_other_data(tmp_path):
    """What is decoded by one class file is not taken from the cache for another."""
    options: dict[str, Any] = {**folder(tmp_path, rgb()), "num_envs": 1, "image_size": 8}
    first = gym.make_vec("RSS/Folder-ImageReward-v0", **options)
    swapped = "ground 128 64 128\nwide road 0 0 0\nwall 255 255 255\n"
    (tmp_path / "classes.txt").write_text(swapped)
    second = gym.make_vec("RSS/Folder-ImageReward-v0", **options)
    assert isinstance(first, RSSVectorEnv)
    assert isinstance(second, RSSVectorEnv)
    assert first.content_digest() != second.content_digest()
    np.testing.assert_array_equal(second.palette, COLOURS[[1, 0, 2]])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("ground 0 0 0\nroad\n", "'road' has no colour, but other lines have"),
        ("ground 0 0 0\nroad 0 0 300\n", "'road 0 0 300' has no colour of 0..255"),
        ("ground 1 0 0\nroad 1 0 0\n", "colour 1 0 0 to two classes, 'ground' and 'road'"),
        ("ground 1 0 0\nground 2 0 0\n", "names the class 'ground' twice"),
    ],
)
def test_class_files_that_contradict_themselves(tmp_path, classes, message):
    with pytest.raises(DatasetError, match=message):
        open_dataset("Folder", **folder(tmp_path, rgb(), classes))


def test_colours_may_stand_behind_commas(tmp_path):
    classes = "ground,0,0,0\nwide road, 128, 64, 128\nwall 255,255,255\n"
    dataset = open_dataset("Folder", **folder(tmp_path, rgb(), classes))
    assert dataset.class_names == ("ground", "wide road", "wall")
    np.testing.assert_array_equal(dataset.read(0)[1], LABEL)


def test_colours_may_stand_before_the_names(tmp_path):
    (tmp_path / "classes.txt").write_text("64 128 64\t\tAnimal\n128 0 192  Truck_Bus 2\n")
    found = read_classes(str(tmp_path / "classes.txt"))
    assert found.names == ["Animal", "Truck_Bus 2"]
    assert found.palette.tolist() == [[64, 128, 64], [128, 0, 192]]
