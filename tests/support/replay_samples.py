"""Random images and scored maps, for the tests of what is remembered."""

from __future__ import annotations

import torch

from rss_agents.replay.scored_maps import ScoredMaps
from rss_env.action_maps import ActionMapGeometry


def random_images(number: int, height: int = 2, width: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (number, height, width, 3), dtype=torch.uint8)


def scored(geometry: ActionMapGeometry, images: int, likelihoods: bool = False) -> ScoredMaps:
    """Random maps, two for each image, with random scores."""
    maps = torch.randint(0, geometry.num_classes, (images, 2, geometry.num_cells))
    scores = torch.rand(images, 2, len(geometry.scales))
    probabilities = torch.rand(maps.shape).half() if likelihoods else None
    return ScoredMaps.new(maps.to(torch.uint8), scores, geometry, probabilities)
