"""Train on arrays with a function, a module and callbacks of your own: no file, no command line.

    python examples/own_objects.py --updates 200 --out runs/own-objects

Written as a notebook is: each part between two `# %%` is a cell.
"""

# %% What is at hand: images, few of them with labels, and an idea of what a good map is
from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rss_agents.api import TrainingEvent, load, train
from rss_env import ScoringContext

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--out", default="runs/own-objects")
options.add_argument("--updates", type=int, default=200)
args = options.parse_args()

random = np.random.default_rng(0)
images = random.integers(0, 90, (48, 32, 32, 3), dtype=np.uint8)
labels = np.zeros((48, 32, 32), np.uint8)
for image, label in zip(images, labels, strict=True):
    y, x = random.integers(2, 14, 2)
    image[y : y + 14, x : x + 14] += 120
    label[y : y + 14, x : x + 14] = 1


def score(
    shown: torch.Tensor, action_maps: torch.Tensor, context: ScoringContext
) -> npt.NDArray[Any]:
    """Score maps (G, K, H, W) by how far they agree with a threshold; (G, K) in [0, 1]."""
    bright = shown.float().mean(3)[:, None] > 105
    return ((action_maps == 1) == bright).float().mean((2, 3)).numpy()


# %% A network, and somebody who looks on
network = nn.Sequential(
    nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
    nn.Conv2d(16, 2, 1),
)  # fmt: skip


def look_on(event: TrainingEvent) -> None:
    """Say how the validation went; a network that is good enough need not go on."""
    if event.is_validation:
        print(f"update {event.update}: mIoU {event.metrics['miou']:.3f}")
        if event.metrics["miou"] > 0.99:
            event.stop()


# %% Train: forty images without a label, eight with one to see how it goes
run = train(
    images[:40],
    classes=["ground", "figure"],
    validation=(images[40:], labels[40:]),
    scorer=score,
    network=network,
    callbacks=look_on,
    out=args.out,
    overwrite=True,
    updates=args.updates,
    eval_every=max(1, args.updates // 4),
)

# %% Use it: arrays in, class maps out
maps = run.predict(images[40:])
print(f"right pixels: {(maps == labels[40:]).mean():.3f}")
again = load(run.folder, network=network)
assert (again.predict(images[40]) == maps[0]).all()
