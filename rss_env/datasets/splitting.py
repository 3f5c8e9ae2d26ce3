"""Lists of a training and a validation split, for images that come without."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rss_env.datasets.base import FileDataset
from rss_env.errors import DatasetError, check_value


def deal_out(
    dataset: FileDataset, folder: Path, val_share: float, seed: int
) -> dict[str, list[str]]:
    """Deal the images of a data set out at random, the same for the same images and seed.

    Args:
        dataset: Images, all of them below the folder.
        folder: What their names are relative to.
        val_share: Share of the images for validation, in 0..1; at least one image is in each part.
        seed: At least 0.

    Returns:
        Names of images, sorted, of `train` and `val`.

    Raises:
        InputError: If the share or the seed is out of range, or there is one image only.
    """
    check_value(0 < val_share < 1, "val_share", "between 0 and 1", val_share)
    check_value(seed >= 0, "seed", "at least 0", seed)
    names = [path.relative_to(folder).as_posix() for path in dataset.images]
    if len(names) < 2:
        raise DatasetError(f"{folder} holds one image: there is nothing to split")
    held_out = min(max(1, round(val_share * len(names))), len(names) - 1)
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    parts = {"train": order[held_out:], "val": order[:held_out]}
    return {split: sorted(names[i] for i in part) for split, part in parts.items()}
