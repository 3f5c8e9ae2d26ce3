"""Groups of scored action maps of a batch of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rss_agents.kernels.map_counts import map_counts
from rss_env.action_maps import ActionMapGeometry


@dataclass(frozen=True)
class ScoredMaps:
    """Groups of maps of the images of a batch, with their scores, as the images are remembered.

    Attributes:
        maps: (R, cells) uint8, a table of flat actions.
        rows: (B, V, K) int64, which of them are the V groups of K maps of each image.
        scores: (B, V, K, S) float32; 0 where there is no such group.
        predicted: (B, V, K, S, C) float32, cells of each class in the maps.
        valid: (B, V) bool, whether there is such a group.
        likelihoods: (B, V, K, cells) probabilities that the maps' cells were drawn with, if asked.
        counted: (B, V, K) bool, which maps are learned from; None for all.
        is_new: Whether nothing was learned yet from the first group of each image.
    """

    maps: torch.Tensor
    rows: torch.Tensor
    scores: torch.Tensor
    predicted: torch.Tensor
    valid: torch.Tensor
    likelihoods: torch.Tensor | None = None
    is_new: bool = True
    counted: torch.Tensor | None = None

    @classmethod
    def new(
        cls,
        maps: torch.Tensor,
        scores: torch.Tensor,
        geometry: ActionMapGeometry,
        likelihoods: torch.Tensor | None = None,
        uncounted: int | None = None,
    ) -> ScoredMaps:
        """One group of maps (B, K, cells) for each image, with scores (B, K, S).

        Of each group the last `uncounted` maps are not learned from; None says nothing of that.
        """
        rows = torch.arange(scores[..., 0].numel(), device=maps.device)
        return cls(
            maps.flatten(0, 1),
            rows.view(len(maps), 1, -1),
            scores[:, None],
            map_counts(maps, geometry.offsets, geometry.num_classes)[:, None],
            torch.ones(len(maps), 1, dtype=torch.bool, device=maps.device),
            None if likelihoods is None else likelihoods[:, None],
            counted=None if uncounted is None else _all_but(maps, uncounted),
        )

    @property
    def own_maps(self) -> torch.Tensor:
        """(B, V, K, cells) uint8, a copy."""
        return self.maps[self.rows]


def _all_but(maps: torch.Tensor, last: int) -> torch.Tensor:
    """(B, 1, K) bool of maps (B, K, cells): true, but for the last ones."""
    counted = torch.ones(len(maps), 1, maps.shape[1], dtype=torch.bool, device=maps.device)
    counted[:, :, maps.shape[1] - last :] = False
    return counted
