"""Pictures fitted into the size that a network sees, in the shape that they have."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from PIL import Image

from rss_env.datasets import open_dataset
from rss_env.datasets.resizing import (
    RESIZES,
    Resize,
    fit_image,
    fit_label,
    size_in_shape,
    stretch_of,
    window_of,
)
from rss_env.scenes import load_scenes


@pytest.mark.parametrize(
    ("size", "frame", "rows", "columns"),
    [
        ((40, 20), (16, 16), (0, 16), (4, 12)),
        ((20, 40), (16, 16), (4, 12), (0, 16)),
        ((10, 10), (16, 32), (0, 16), (8, 24)),
        ((16, 16), (16, 16), (0, 16), (0, 16)),
        ((1000, 1), (16, 16), (0, 16), (7, 8)),
        ((3, 2), (64, 64), (0, 64), (10, 53)),
    ],
)
def test_a_picture_is_whole_and_in_the_middle(size, frame, rows, columns):
    assert window_of(size, frame) == (slice(*rows), slice(*columns))


def test_around_it_there_is_black_and_void():
    image = np.full((40, 20, 3), 200, np.uint8)
    label = np.full((40, 20), 3, np.uint8)
    fitted, classes = fit_image(image, (16, 16)), fit_label(label, (16, 16))
    rows, columns = window_of((40, 20), (16, 16))
    inside = np.zeros((16, 16), np.bool_)
    inside[rows, columns] = True
    assert (fitted[inside] == 200).all()
    assert not fitted[~inside].any()
    assert (classes[inside] == 3).all()
    assert (classes[~inside] == 255).all()


def test_sizes_in_the_shape_of_a_picture():
    assert stretch_of((640, 480), (128, 128)) == pytest.approx(0.75)
    assert size_in_shape((640, 480), (128, 128), 32) == (128, 96)
    assert size_in_shape((1024, 2048), (128, 128), 32) == (96, 192)
    assert size_in_shape((500, 500), (128, 128), 32) is None


def test_scenes_of_portraits_keep_their_shape(tmp_path):
    """A square in a portrait stays one."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    label = np.zeros((80, 40), np.uint8)
    label[30:50, 10:30] = 1
    Image.fromarray(np.stack([label * 200] * 3, 2)).save(tmp_path / "images/a.png")
    Image.fromarray(label).save(tmp_path / "labels/a.png")
    data = open_dataset(
        "Folder", images=str(tmp_path / "images"), labels=str(tmp_path / "labels"), classes="2"
    )
    sides = {}
    for resize in get_args(Resize):
        scenes = load_scenes(data, (32, 32), resize=resize)
        assert scenes.labels is not None
        square = scenes.labels[0] == 1
        sides[resize] = (int(square.any(1).sum()), int(square.any(0).sum()))
        valid = int((scenes.labels[0] != 255).sum())
        assert valid == (32 * 32 if resize == "stretch" else 32 * 16)
        assert scenes.shown_pixels().tolist() == [valid]  # there is no other void
        assert ((scenes.images[0, :, :, 0] > 100) ^ square).sum() < 20
    assert sides == {"stretch": (8, 16), "pad": (8, 8)}
    assert get_args(Resize) == RESIZES
