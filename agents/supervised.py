"""The labelled reference: the same network on the same images, told every pixel's class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from rss_env.kernels.label_table import VOID
from rss_env.scenes import Scenes, SceneStream


class SupervisedLearner:
    """Cross-entropy on label maps (`psl`, pixel-level supervised learning)."""

    queries_per_update = 0

    def __init__(
        self, network: nn.Module, scenes: Scenes, num_images: int, seed: int, *, mirror: bool
    ):
        """Bind a network to labelled scenes.

        Args:
            network: uint8 (B, H, W, 3) to logits (B, C, H, W).
            scenes: Images with labels.
            num_images: B.
            seed: Of the images: the same seed shows the same images as the environment does.
            mirror: Whether images are flipped horizontally at random.
        """
        self.network, self.scenes = network, scenes
        self.stream = SceneStream(num_images, len(scenes), mirror=mirror)
        for group in range(num_images):
            self.stream.seed(group, seed + group)

    def loss(self, progress: float = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One batch: the cross-entropy, and the pixel accuracy to log as `score`.

        Args:
            progress: Share of the training done, 0..1; nothing here depends on it.
        """
        self.stream.advance(self.stream.episodes >= -1)
        batch = self.stream.batch(self.scenes.images.device)
        labels = self.scenes.labels_of(batch).long()
        logits = self.network(self.scenes.observe(batch))
        with torch.no_grad():
            valid = labels != VOID
            right = ((logits.argmax(1) == labels) & valid).sum() / valid.sum().clamp(min=1)
        # The mean over valid pixels, and zero instead of NaN for a batch that has none.
        total = F.cross_entropy(logits, labels, ignore_index=VOID, reduction="sum")
        return total / valid.sum().clamp(min=1), {"score": right}
