"""Learn from stars: somebody looks at a map over its image and gives 0 to 5 of them.

    python examples/star_ratings.py --updates 600
    python examples/star_ratings.py --ask --updates 20

Without `--ask` the stars are what a careful person would give: the mIoU of the map against a label
that the agent never sees, rounded to fifths. With `--ask` that person is you: every map is written
to a PNG beside its image, and the stars are read from the terminal. Either way the agent takes a
number of stars for the interval of scores that it stands for, and shows maps that differ in whole
regions, since maps that differ by a cell would all get the same stars.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from PIL import Image

from rss_agents.command_line import DataConfig
from rss_agents.train import train
from rss_agents.training.config import TrainConfig
from rss_env.datasets.base import voc_palette
from rss_env.rendering import enlarged, overlay

STARS = 5
PICTURE = Path("rate-me.png")


@dataclass
class Args:
    """Learn from stars."""

    out: Path = Path("runs/star-ratings")
    """Folder of the training."""
    ask: bool = False
    """Ask at the terminal instead of computing the stars from labels."""
    updates: int = 600
    """Of the training; with --ask each asks for 4 ratings."""
    image_size: int = 64
    """Side in pixels."""
    seed: int = 0
    """Of the training."""


def read_stars(prompt: str) -> int:
    """Ask until there is an answer that is one."""
    while True:
        answer = input(prompt).strip()
        if answer in {str(stars) for stars in range(STARS + 1)}:
            return int(answer)
        print(f"a whole number from 0 to {STARS}, please")


def ask_a_person(images: torch.Tensor, action_maps: torch.Tensor) -> npt.NDArray[np.float32]:
    """A scorer that shows every map beside its image and asks for stars.

    Args:
        images: (G, H, W, 3) uint8.
        action_maps: (G, K, H, W) uint8.

    Returns:
        (G, K) float32: stars out of 5, as a share.
    """
    palette = voc_palette(256)
    scores = np.zeros(action_maps.shape[:2], np.float32)
    for g, image in enumerate(images.numpy()):
        for k, class_map in enumerate(action_maps[g].numpy()):
            panels = [enlarged(part, 256) for part in (image, overlay(image, class_map, palette))]
            Image.fromarray(np.concatenate(panels, 1)).save(PICTURE)
            scores[g, k] = read_stars(f"{PICTURE}, 0 to {STARS} stars: ") / STARS
    return scores


def main() -> None:
    """Train, and say what came of it."""
    args = tyro.cli(Args)
    small: dict[str, Any] = {}
    if args.ask:  # a person's time is short: two images, two maps of each, one scale
        small = {"scorer": f"{__name__}:ask_a_person", "num_images": 2, "group_size": 2}
        small |= {"scales": (8,)}
    result = train(
        TrainConfig(
            out=args.out,
            data=DataConfig("RSS/Shapes-ImageReward-v0"),
            feedback=f"rating:{STARS}",
            image_size=(args.image_size,),
            updates=args.updates,
            eval_every=max(1, args.updates // 6),
            seed=args.seed,
            overwrite=True,
            **small,
        )
    )
    print(f"{result['score_queries']:,} ratings, validation mIoU {result['miou']:.3f}")


if __name__ == "__main__":
    main()
