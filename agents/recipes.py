"""Complete training runs as functions: each returns a full configuration."""

from __future__ import annotations

from pathlib import Path

from agents.command_line import DataConfig
from agents.train import TrainConfig


def shapes(out: Path, algo: str, seed: int = 0, updates: int = 600) -> TrainConfig:
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
        algo=algo,  # pyright: ignore[reportArgumentType]
        seed=seed,
        updates=updates,
        overwrite=True,
    )
