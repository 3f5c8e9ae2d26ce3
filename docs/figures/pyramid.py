"""Draws what an action is: maps of one scene at four scales. `python docs/figures/pyramid.py`.

Each map gives every cell the class that most of its pixels have, so these are about the best that
each scale can answer; the environment says what they score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from figure_style import IMAGES, class_legend, new_figure, palette, save, show

import rss_env  # noqa: F401  (registers the ids)
from rss_env.datasets import open_dataset
from rss_env.rendering import colourise

SCALES = (8, 4, 2, 1)
SCENE: dict[str, Any] = {"scene_seed": 11, "num_scenes": 1}


def most_frequent(label: np.ndarray, scale: int, num_classes: int) -> np.ndarray:
    """The most frequent class of every cell (H/scale, W/scale) of a label (H, W)."""
    rows, columns = label.shape[0] // scale, label.shape[1] // scale
    cells = label.reshape(rows, scale, columns, scale)
    return (cells[..., None] == np.arange(num_classes)).sum((1, 3)).argmax(-1)


def draw(path: Path) -> None:
    """Write the figure."""
    dataset = open_dataset("Shapes", **SCENE)
    image, label = dataset.read(0)
    assert label is not None
    maps = [most_frequent(label, scale, dataset.num_classes) for scale in SCALES]
    env = gym.make_vec("RSS/Shapes-ImageReward-v0", num_envs=1, **SCENE)
    env.reset(seed=0)
    action = np.concatenate([part.ravel() for part in maps])[None]
    infos = env.step(action)[4]
    scores = infos["final_info"]["scale_scores"][0]
    env.close()
    figure, axes = new_figure(1, 1 + len(SCALES), (11, 3.3))
    show(axes[0, 0], image, "observation\n64 x 64 pixels")
    for axis, scale, part, score in zip(axes[0, 1:], SCALES, maps, scores, strict=True):
        picture = colourise(part.astype(np.uint8), palette())
        title = f"scale {scale}: {part.size:,} cells\nscore {score:.2f}"
        show(axis, picture, title, part.shape if scale > 2 else None)
    class_legend(figure, dataset.class_names)
    save(figure, path)


if __name__ == "__main__":
    draw(IMAGES / "pyramid.png")
