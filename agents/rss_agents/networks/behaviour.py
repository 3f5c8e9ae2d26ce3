"""Policies that maps are recorded with: the probability of each class that they draw is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.kernels.sample_classes import mix_with_uniform, sample_classes
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.action_maps import ActionMapGeometry
from rss_env.counter_random import POLICY_STREAM, hash_counters


@dataclass(frozen=True)
class BehaviourPolicy:
    """Draws every cell's class by itself: uniformly, or as a trained network believes.

    Attributes:
        geometry: Of the maps.
        network: The network, in evaluation mode; None for uniform classes.
        temperature: What its logits are divided by.
        epsilon: Share of classes that are drawn uniformly. Every class then has a probability of
            at least epsilon / C, so that ratios to it are bounded.
    """

    geometry: ActionMapGeometry
    network: SegmentationNetwork | None = None
    temperature: float = 1.0
    epsilon: float = 0.0

    @torch.no_grad()
    def probabilities(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, C, cells) float32 of the classes, for images (B, H, W, 3) uint8."""
        if self.network is None:
            classes, cells = self.geometry.num_classes, self.geometry.num_cells
            shape = (len(images), classes, cells)
            return torch.full(shape, 1 / classes, device=images.device)
        pixels = (self.network(images).float() / self.temperature).softmax(1)
        cells = pool_cells(pixels, self.geometry.scales, self.network.stride)
        return mix_with_uniform(cells, self.epsilon)

    def draw(
        self, images: torch.Tensor, seeds: npt.NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a map for each image.

        Args:
            images: (B, H, W, 3) uint8.
            seeds: (B,), not negative. A map is a function of its seed and of what the network says
                of its image.

        Returns:
            Flat actions (B, cells) uint8, and the log-probabilities (B, cells) float64 of their
            classes. Classes are drawn with random numbers of 24 bits: a probability may be off by
            6e-8.
        """
        probabilities = self.probabilities(images)
        keys = torch.from_numpy(hash_counters(seeds, POLICY_STREAM).view(np.int64))
        maps = sample_classes(probabilities, keys.to(images.device), 1)[:, 0]
        exact = probabilities.double()
        drawn = exact.gather(1, maps[:, None].long())[:, 0]
        return maps, (drawn / exact.sum(1)).log()
