"""Complete training runs as functions: each returns a full configuration."""

from __future__ import annotations

from pathlib import Path

from agents.algorithms import Algorithm
from agents.command_line import DataConfig
from agents.pretrained import LITE0
from agents.train_config import TrainConfig


def shapes(out: Path, algo: Algorithm, seed: int = 0, updates: int = 600) -> TrainConfig:
    """The embedded Shapes scenes at 64 x 64, scored by one mIoU per map.

    Args:
        out: Folder for the results; a run already there is replaced.
        algo: `rss` or `psl`.
        seed: Of the weights, the images and the maps drawn.
        updates: Number of updates.
    """
    return TrainConfig(
        out=out,
        data=DataConfig("RSS/Shapes-ImageReward-v0"),
        algo=algo,
        seed=seed,
        updates=updates,
        overwrite=True,
    )


def photographs(
    out: Path, algo: Algorithm, env: str, root: str, seed: int = 0, updates: int = 6000
) -> TrainConfig:
    """Photographs in an official layout, from ImageNet weights (`rss-env[pretrained]`).

    Images are zoomed and recoloured at random, but for `rss`: it remembers the scores of an image
    and uses them when the image comes back as it was, or mirrored.

    Args:
        out: Folder for the results; must be new.
        algo: Any algorithm.
        env: Such as `RSS/VOC-ImageReward-v0`.
        root: Where the data set lies.
        seed: Of the weights, the images and the maps drawn.
        updates: Number of updates.
    """
    varies = algo != "rss"
    return TrainConfig(
        out=out,
        data=DataConfig(env=env, root=root),
        algo=algo,
        seed=seed,
        updates=updates,
        network=f"unet/{LITE0}",
        pretrained=True,
        learning_rate=1e-3,
        zoom=(0.5, 2.0) if varies else None,
        colour_jitter=0.3 if varies else 0.0,
        eval_every=500,
    )
