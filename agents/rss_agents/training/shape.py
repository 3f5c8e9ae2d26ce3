"""A note on images that are stretched to the size that is trained on, with a better size."""

from __future__ import annotations

import numpy as np

from rss_agents.training.config import TrainConfig
from rss_env.datasets.base import FileDataset
from rss_env.datasets.pictures import read_size
from rss_env.datasets.resizing import size_in_shape, stretch_of
from rss_env.errors import warn_of
from rss_env.vector_env import RSSVectorEnv

_LOOKED_AT = 64  # images, spread over the data set
_WORTH_A_NOTE = 1.2  # times that things get taller or wider


def note_shape(config: TrainConfig, env: RSSVectorEnv) -> None:
    """Say how far images are stretched, if they are, and which size would keep their shape.

    Not where a run goes on: it was said when it began.
    """
    if config.resume is not None or config.resize != "stretch":
        return
    if isinstance(env.dataset, FileDataset):
        note = shape_note(env.dataset, env.image_size, max(32, *env.geometry.scales))
        if note is not None:
            warn_of(note)


def shape_note(dataset: FileDataset, image_size: tuple[int, int], multiple: int) -> str | None:
    """What is to be said of a data set's images and a size that they are stretched to.

    Args:
        dataset: The images.
        image_size: (H, W).
        multiple: What the sides of another size are to be multiples of.

    Returns:
        The note; None if they are hardly stretched.

    Raises:
        DatasetError: If an image cannot be read.
    """
    picked = np.linspace(0, len(dataset) - 1, min(_LOOKED_AT, len(dataset))).round().astype(int)
    sizes = [read_size(dataset.images[index]) for index in picked]
    logs = np.log([stretch_of(size, image_size) for size in sizes])
    worst = int(np.abs(logs).argmax())
    stretched = float(np.exp(np.abs(logs[worst])))
    if stretched < _WORTH_A_NOTE:
        return None
    height, width = sizes[worst]
    how = "taller" if logs[worst] > 0 else "wider"
    middle = sizes[int(np.argsort(logs)[len(logs) // 2])]
    better = size_in_shape(middle, image_size, multiple)
    advice = "--resize pad keeps their shape"
    if better is not None:
        alike = np.abs(np.log([stretch_of(size, better) for size in sizes])).max()
        if alike < np.log(_WORTH_A_NOTE):
            size = f"--image-size {better[0]} {better[1]}"
            advice = f"{size} keeps their shape, and so does --resize pad"
    return (
        f"images are stretched to {image_size[0]}x{image_size[1]} (height x width): what one of "
        f"{height}x{width} shows gets {stretched:.2f} times {how}; {advice}"
    )
