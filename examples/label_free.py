"""Train a segmentation network on images that nobody ever labelled, from a scorer of your own.

    python examples/label_free.py --updates 300 --out runs/label-free

The images are generated, squares and discs that are brighter than the ground. The scorer looks at
an image and a map of two classes: how much of the image's variance do the two regions' mean colours
explain, less a price for ragged borders? No label exists, for the environment neither. In its place
may stand whatever can judge a result: a reward model, a simulator, the next program in a pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import tyro
from PIL import Image

from rss_agents.command_line import DataConfig
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.train import train
from rss_agents.training.config import TrainConfig

PRICE_OF_BORDERS = 0.2


@dataclass
class Args:
    """Learn to tell figures from ground without a label."""

    out: Path = Path("runs/label-free")
    """Folder of the images and of the training."""
    num_images: int = 64
    """Images to generate."""
    image_size: int = 32
    """Side in pixels."""
    updates: int = 300
    """Of the training."""
    seed: int = 0
    """Of images and training."""


def write_images(folder: Path, count: int, size: int, seed: int) -> npt.NDArray[np.bool_]:
    """Write PNGs of one bright figure each; where the figures are, (count, size, size)."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[:size, :size]
    figures = np.zeros((count, size, size), np.bool_)
    for number in range(count):
        radius = random.uniform(0.15, 0.3) * size
        y, x = random.uniform(radius, size - radius, 2)
        distance = (rows - y) ** 2, (columns - x) ** 2
        inside = (
            np.hypot(*np.sqrt(distance)) < radius
            if number % 2
            else (np.maximum(*distance) < radius**2)
        )
        picture = random.integers(0, 60, (size, size, 3)) + random.integers(0, 60, 3)
        picture[inside] += random.integers(60, 120, 3)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:03}.png")
        figures[number] = inside
    return figures


def explained_colour(images: torch.Tensor, maps: torch.Tensor) -> npt.NDArray[np.float32]:
    """Score maps of two classes by the colours they explain.

    Args:
        images: (G, H, W, 3) uint8.
        maps: (G, K, H, W) uint8, K maps of each.

    Returns:
        (G, K) float32 in [0, 1].
    """
    action_maps = maps.numpy()
    pixels = images.numpy().reshape(len(images), 1, -1, 3).astype(np.float64)
    of_one = action_maps.reshape(*action_maps.shape[:2], -1, 1) > 0
    total = ((pixels - pixels.mean(2, keepdims=True)) ** 2).sum((2, 3))
    left = 0.0
    for region in (of_one, ~of_one):
        count = region.sum(2, keepdims=True).clip(min=1)
        mean = (pixels * region).sum(2, keepdims=True) / count
        left = left + (((pixels - mean) ** 2) * region).sum((2, 3))
    vertical = (action_maps[:, :, 1:] != action_maps[:, :, :-1]).mean((2, 3))
    horizontal = (action_maps[..., 1:] != action_maps[..., :-1]).mean((2, 3))
    score = 1 - left / (total + 1e-9) - PRICE_OF_BORDERS * (vertical + horizontal) / 2
    return score.clip(0, 1).astype(np.float32)


def main() -> None:
    """Generate, train, compare with where the figures are."""
    args = tyro.cli(Args)
    images = args.out / "images"
    figures = write_images(images, args.num_images, args.image_size, args.seed)
    train(
        TrainConfig(
            out=args.out / "run",
            data=DataConfig(
                env="RSS/Folder-ImageReward-v0", images=str(images.resolve()), classes="2"
            ),
            scorer=f"{__name__}:explained_colour",
            image_size=(args.image_size,),
            scales=(8, 4, 2),
            updates=args.updates,
            eval_every=max(1, args.updates // 3),
            seed=args.seed,
            overwrite=True,
        )
    )
    network, _ = load_checkpoint(args.out / "run")
    pictures = np.stack([np.asarray(Image.open(path)) for path in sorted(images.glob("*.png"))])
    with torch.no_grad():
        found = network.predict(torch.from_numpy(pictures)).numpy() > 0
    # Which of the two classes is the figure is the scorer's no matter: the better of both counts.
    ious = [(answer & figures).sum() / (answer | figures).sum() for answer in (found, ~found)]
    print(f"IoU with the figures, which nobody told: {max(ious):.3f}")


if __name__ == "__main__":
    main()
