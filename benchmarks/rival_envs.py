"""What the environments are timed against: others of the same spaces, written the usual ways.

`BareEnv` does the least that a Gymnasium environment of this shape can do: it draws an image,
compares the action with one array and hands out copies. `TorchmetricsEnv` scores each map of one
image at a time with `torchmetrics`, as code for evaluation does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rss_env.action_maps import ActionMapGeometry


@dataclass(frozen=True)
class RivalData:
    """What all rivals of one kind share.

    Attributes:
        images: (M, H, W, 3) uint8.
        labels: (M, H, W) uint8, 255 for void.
        geometry: The action maps' grids.
        cells: (M, cells) int64, a label for each cell of a flat action.
    """

    images: np.ndarray
    labels: np.ndarray
    geometry: ActionMapGeometry
    cells: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, geometry: ActionMapGeometry) -> RivalData:
        """Images and labels, with each cell's label that of its first pixel."""
        corners = [labels[:, ::scale, ::scale] for scale in geometry.scales]
        cells = np.concatenate([part.reshape(len(labels), -1) for part in corners], 1)
        return cls(images, labels, geometry, cells.astype(np.int64))


class BareEnv(gym.Env[Any, Any]):
    """Images, actions and infos of our shapes; the reward is the share of equal cells."""

    def __init__(self, data: RivalData):
        """Lay out the spaces."""
        self.data = data
        self.observation_space = gym.spaces.Box(0, 255, data.images.shape[1:], np.uint8)
        self.action_space = data.geometry.action_space("flat")
        self.index = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """See a new image."""
        super().reset(seed=seed)
        self.index = int(self.np_random.integers(len(self.data.images)))
        return self.data.images[self.index].copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Score an action; the episode ends."""
        scores = self.score(action)
        info = {"scale_scores": scores}
        return self.data.images[self.index].copy(), float(scores[0]), True, False, info

    def score(self, action: np.ndarray) -> np.ndarray:
        """(S,) float32, the same for every scale."""
        alike = np.mean(action == self.data.cells[self.index])
        return np.full(len(self.data.geometry.scales), alike, np.float32)


class TorchmetricsEnv(BareEnv):
    """Every scale's map is painted onto the pixels and scored by torchmetrics' MeanIoU."""

    def __init__(self, data: RivalData):
        """Make the metric."""
        from torchmetrics.segmentation import MeanIoU

        super().__init__(data)
        self.metric = MeanIoU(data.geometry.num_classes, per_class=True, input_format="index")

    def score(self, action: np.ndarray) -> np.ndarray:
        """(S,) float32, mean IoU over the classes in map or label."""
        geometry = self.data.geometry
        target = torch.from_numpy(self.data.labels[self.index]).long()
        valid = target < geometry.num_classes
        parts = geometry.split(torch.from_numpy(action))
        scores = np.empty(len(parts), np.float32)
        for scale, part in enumerate(parts):
            painted = geometry.upsample(part, scale)
            self.metric.update(painted[valid][None], target[valid][None])
            iou = self.metric.compute()
            self.metric.reset()
            scores[scale] = iou[iou >= 0].mean()  # -1 where a class is in neither
        return scores
