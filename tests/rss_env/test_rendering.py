"""Pictures that a person can read: outlines over photographs, sheets with heads and a legend."""

from __future__ import annotations

import numpy as np

from rss_env.datasets.base import voc_palette
from rss_env.rendering import HEAD_HEIGHT, legend_of, outlined, prediction_sheet, sheet

PALETTE = voc_palette(4)


def disc(side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side // 2
    return ((x**2 + y**2) < (side // 4) ** 2).astype(np.uint8)


def test_a_photograph_is_seen_under_its_classes():
    random = np.random.default_rng(0)
    image, classes = random.integers(0, 256, (64, 64, 3), dtype=np.uint8), disc()
    classes[:4] = 255
    shown = outlined(image, classes, PALETTE)
    np.testing.assert_array_equal(shown[classes != 1], image[classes != 1])  # black, and void
    eroded = classes == 1
    for axis in (0, 1):
        eroded &= np.roll(eroded, 1, axis) & np.roll(eroded, -1, axis)
    edge = (classes == 1) & ~eroded
    outline = (shown == PALETTE[1]).all(2)
    assert outline[edge].mean() > 0.5
    inside = np.hypot(*(np.mgrid[:64, :64] - 32)) < 10
    grey = image[inside].astype(float).ravel()
    assert np.corrcoef(grey, shown[inside].astype(float).ravel())[0, 1] > 0.9


def test_outlines_have_an_edge_on_large_pictures():
    for colour, edge in (((128, 0, 0), 255), ((250, 250, 100), 0)):
        palette = np.array([(0, 0, 0), colour], np.uint8)
        image = np.full((512, 512, 3), colour, np.uint8)
        shown = outlined(image, disc(512), palette)
        assert (shown == edge).all(2).any()


def test_a_sheet_has_heads_and_a_legend():
    rows = [[np.full((20, 60, 3), 10 * r + c, np.uint8) for c in range(3)] for r in range(2)]
    legend = [(f"class number {c}", PALETTE[c]) for c in range(4)]
    page = sheet(rows, ("image", "label", "a head that is far too long for it"), legend)
    assert page.shape[1] == 3 * 64 - 4
    heads = page[:HEAD_HEIGHT]
    for column in range(3):
        assert (heads[:, column * 64 : column * 64 + 60] < 128).any()
    np.testing.assert_array_equal(page[HEAD_HEIGHT : HEAD_HEIGHT + 20, 64:124], rows[0][1])
    below = page[HEAD_HEIGHT + 44 :].reshape(-1, 3)
    for colour in PALETTE:
        assert (below == colour).all(1).any()


def test_of_many_classes_those_that_are_seen_are_named():
    names = [f"class {c}" for c in range(60)]
    few = legend_of(names[:4], PALETTE, np.array([[1, 255]], np.uint8))
    assert [name for name, _ in few] == [*names[:4], "void"]
    many = legend_of(
        names, voc_palette(60), np.array([[7, 3]], np.uint8), np.zeros((1, 1), np.uint8)
    )
    assert [name for name, _ in many] == ["class 0", "class 3", "class 7"]


def test_large_images_are_shrunk_for_a_sheet():
    image = np.full((1000, 2000, 3), 90, np.uint8)
    page = prediction_sheet(image, np.ones((1000, 2000), np.uint8), ["a", "b"], PALETTE[:2])
    assert page.shape[1] == 3 * 960 + 2 * 4
