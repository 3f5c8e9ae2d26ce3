"""Draws what PSD makes of a pair of maps. `python docs/figures/pair.py`.

Two maps of one scene are scored. Leave-one-out gives all cells of a map the same advantage; the
pair-wise spatial difference gives one only to the cells in which the two maps differ.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from figure_style import IMAGES, class_legend, new_figure, palette, save, show
from matplotlib import colormaps
from pyramid import SCENE, most_frequent

import rss_env  # noqa: F401  (registers the ids)
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference
from rss_agents.losses.advantages import leave_one_out
from rss_env.datasets import open_dataset
from rss_env.rendering import colourise

SCALE = 4


def two_maps(best: np.ndarray) -> np.ndarray:
    """Two answers (2, rows, columns), each with a mistake.

    One calls the last class of figures by the name of the one before it, the other leaves the first
    class out.
    """
    wrong = np.stack([best, best])
    figures = np.unique(best[best > 0])
    wrong[0][best == figures[-1]] = figures[-2]
    wrong[1][best == figures[0]] = 0
    return wrong


def _signed(values: np.ndarray, most: float) -> np.ndarray:
    """Values (rows, columns) as colours: purple below 0, white at 0, orange above."""
    return colormaps["PuOr_r"](0.5 + values / (2 * most))[..., :3]


def draw(path: Path) -> None:
    """Write the figure."""
    dataset = open_dataset("Shapes", **SCENE)
    image, label = dataset.read(0)
    assert label is not None
    maps = two_maps(most_frequent(label, SCALE, dataset.num_classes))
    env = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=2, group_size=2, scales=(SCALE,), **SCENE
    )
    env.reset(seed=0)
    scores = env.step(maps.reshape(2, -1))[1]
    env.close()
    told = torch.from_numpy(np.asarray(scores, np.float32))[None]
    cells = torch.from_numpy(maps.reshape(1, 2, -1).astype(np.uint8))
    pairwise = pairwise_spatial_difference(told, cells)[0, 0].numpy().reshape(maps[0].shape)
    alike = np.full(maps[0].shape, float(leave_one_out(told)[0, 0]))
    most = abs(pairwise).max()
    figure, axes = new_figure(1, 5, (11, 3.3))
    show(axes[0, 0], image, "image\n")
    for axis, part, name, score in zip(axes[0, 1:3], maps, "AB", scores, strict=True):
        picture = colourise(part.astype(np.uint8), palette())
        show(axis, picture, f"map {name}\nscore {score:.2f}", part.shape)
    gain = float(leave_one_out(told)[0, 0])
    show(axes[0, 3], _signed(alike, most), f"A, leave-one-out:\n{gain:+.2f} in every cell")
    differing = float((maps[0] != maps[1]).mean())
    title = f"A, PSD: {gain / differing:+.2f} in the\n{differing:.0%} of cells that differ"
    show(axes[0, 4], _signed(pairwise, most), title)
    class_legend(figure, dataset.class_names)
    save(figure, path)


if __name__ == "__main__":
    draw(IMAGES / "pair.png")
