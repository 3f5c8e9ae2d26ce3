"""The figures of the documentation are drawn by their code, and those on disk are there."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"
NO_FIGURES = ("figure_style", "screenshots")
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in NO_FIGURES)
SHORTER: dict[str, dict[str, Any]] = {"filmstrip": {"updates": 12}}


@pytest.fixture
def load(monkeypatch):
    """Import a figure's module, and forget it afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in {*NAMES, "figure_style"} - known:
        sys.modules.pop(name, None)


def is_drawn(path: Path) -> bool:
    """Whether a picture is opaque (so that it reads on any background) and shows something."""
    picture = np.asarray(Image.open(path))
    opaque = picture.shape[2] == 3 or bool((picture[..., 3] == 255).all())
    colours = np.unique(picture[..., :3].reshape(-1, 3), axis=0)
    rows = (picture[..., :3] != picture[0, 0, :3]).any(2)
    return opaque and len(colours) > 50 and rows.mean() > 0.05 and min(picture.shape[:2]) > 200


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_drawn(name, load, tmp_path, one_thread):
    path = tmp_path / f"{name}.png"
    load(name).draw(path, **SHORTER.get(name, {}))
    assert is_drawn(path)
    committed = Image.open(ROOT / "docs" / "images" / path.name)
    assert Image.open(path).size == committed.size


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_on_disk_is_drawn_and_small(name):
    path = ROOT / "docs" / "images" / f"{name}.png"
    assert is_drawn(path)
    assert path.stat().st_size < 150_000


def test_every_image_of_the_pages_is_there_and_described():
    shown = set[str]()
    for page in (ROOT / "docs").rglob("*.md"):
        for words, link in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / link).is_file(), link
            assert len(words.split()) > 3, f"{page.name} does not say what {link} shows"
            shown.add(Path(link).stem)
    assert set(NAMES) <= shown


# Machado, Oliveira and Fernandes (IEEE Transactions on Visualization and Computer Graphics, 2009):
# what linear RGB looks like without one kind of cone.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB (N, 3)."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear.clip(0, 1) @ np.transpose(to_xyz) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def linear_rgb(colours: Any) -> np.ndarray:
    from matplotlib.colors import to_rgb

    srgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_of_classes_can_be_told_apart(sight, load):
    colours = lab(linear_rgb(load("figure_style").CLASS_COLOURS) @ np.transpose(SIGHTS[sight]))
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert distances[~np.eye(len(colours), dtype=bool)].min() > 15  # 2.3 is just noticeable


def test_lines_differ_without_colour_and_text_has_contrast(load):
    style = load("figure_style")
    looks = {(line["linestyle"], line["marker"]) for line in style.LINES}
    assert len(looks) == len(style.LINES)
    ink, ground = linear_rgb([style.INK, style.BACKGROUND]) @ [0.2126, 0.7152, 0.0722]
    assert (ground + 0.05) / (ink + 0.05) > 7  # WCAG 2.1, level AAA
