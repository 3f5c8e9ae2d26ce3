"""Shapes: generated scenes of textured figures, so that everything runs without any download.

The class of a figure is its outline. Its colour is only a hint, whose strength is an argument: at
1 the hue gives the class away, at 0 it says nothing. A scene is a function of (seed, split, index).
"""

from __future__ import annotations

import colorsys
from collections.abc import Hashable
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from rss_env.arguments import check_whole_number
from rss_env.datasets.base import SegmentationDataset, voc_palette
from rss_env.datasets.decoding import ByteArray
from rss_env.errors import InputError, check_choice, check_value

CLASS_NAMES = ("background", "disc", "square", "triangle", "cross", "ring")
NATIVE_SIZE = (64, 64)
SPLITS = {"train": (0, 500), "val": (1, 200), "test": (2, 200)}  # name -> stream, scenes

FloatArray = npt.NDArray[np.float64]


def _inside(figure: str, u: FloatArray, v: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell whether points (u, v), in units of the figure's radius, lie in the figure."""
    if figure == "disc":
        return u * u + v * v < 0.85
    if figure == "ring":
        return (u * u + v * v < 1.0) & (u * u + v * v > 0.3)
    if figure == "square":
        return np.maximum(abs(u), abs(v)) < 0.8
    if figure == "cross":
        return (np.minimum(abs(u), abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 1.0)
    # An equilateral triangle around its centroid.
    return (v > -0.55) & (v + np.sqrt(3.0) * abs(u) < 1.1)


def _colour(hue: float, value: float) -> FloatArray:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, 0.65, value))


class Shapes(SegmentationDataset):
    """Scenes of two to four figures on a textured ground; six classes, no void."""

    def __init__(
        self,
        split: str = "train",
        color_cue: float = 0.5,
        scene_seed: int = 0,
        num_scenes: int | None = None,
    ):
        """Describe the scenes; nothing is generated yet.

        Args:
            split: `train` (500 scenes), `val` (200) or `test` (200).
            color_cue: How far the hue gives the class away, 0 (not at all) to 1.
            scene_seed: Another seed gives other scenes.
            num_scenes: Number of scenes in place of the split's own.

        Raises:
            InputError: If an argument is out of range.
        """
        self._stream, count = SPLITS[check_choice("Shapes split", split, SPLITS)]
        if not isinstance(color_cue, Real) or not 0.0 <= color_cue <= 1.0:
            raise InputError(f"color_cue must be in 0..1, got {color_cue!r}")
        self._scene_seed = check_whole_number("scene_seed", scene_seed, 0)
        self._count = (
            count if num_scenes is None else check_whole_number("num_scenes", num_scenes, 1)
        )
        self._color_cue = float(color_cue)
        self.class_names = CLASS_NAMES
        self.palette = voc_palette(len(CLASS_NAMES))
        self.identity: Hashable = (
            "Shapes",
            self._stream,
            self._color_cue,
            self._scene_seed,
            self._count,
        )

    @classmethod
    def split_names(cls, **options: Any) -> list[str]:
        """train, val and test."""
        return list(SPLITS)

    @property
    def has_labels(self) -> bool:
        """Always true: the label is generated with the image."""
        return True

    def __len__(self) -> int:
        return self._count

    def read(
        self, index: int, image_size: tuple[int, int] | None = None
    ) -> tuple[ByteArray, ByteArray]:
        """Generate one scene at any size (64 x 64 if None); see `SegmentationDataset.read`."""
        check_value(0 <= index < self._count, "scene index", f"0..{self._count - 1}", index)
        height, width = image_size or NATIVE_SIZE
        random = np.random.default_rng([self._scene_seed, self._stream, index])
        y, x = np.meshgrid(
            (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
        )
        image = self._texture(random, x, y, _colour(random.random(), random.uniform(0.3, 0.8)))
        label = np.zeros((height, width), np.uint8)
        for _ in range(random.integers(2, 5)):
            figure = int(random.integers(1, len(CLASS_NAMES)))
            radius = random.uniform(0.15, 0.26)
            (cx, cy), angle = random.uniform(0.1, 0.9, 2), random.uniform(0, 2 * np.pi)
            u = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)) / radius
            v = ((y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)) / radius
            hue = figure / (len(CLASS_NAMES) - 1)
            hue += (1.0 - self._color_cue) * random.uniform(-0.5, 0.5)
            colour = _colour(hue, random.uniform(0.4, 0.95))
            fill = self._texture(random, x, y, colour)
            inside = _inside(CLASS_NAMES[figure], u, v)
            image[inside], label[inside] = fill[inside], figure
        image += random.normal(0.0, 0.04, image.shape)
        return (image.clip(0, 1) * 255).astype(np.uint8), label

    @staticmethod
    def _texture(
        random: np.random.Generator, x: FloatArray, y: FloatArray, colour: FloatArray
    ) -> FloatArray:
        """Two crossing waves of random direction and wavelength around a colour, (H, W, 3)."""
        waves = np.zeros_like(x)
        for _ in range(2):
            angle, frequency = random.uniform(0, np.pi), random.uniform(2.0, 9.0)
            phase = random.uniform(0, 2 * np.pi)
            across = x * np.cos(angle) + y * np.sin(angle)
            waves += np.sin(2 * np.pi * frequency * across + phase)
        return colour + 0.08 * waves[..., None]
