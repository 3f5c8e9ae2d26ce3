"""Drawing action maps from a policy: cell by cell, or varied in whole regions and classes."""

from __future__ import annotations

import torch

from rss_agents.algorithms.varied_maps_config import VariedMapsConfig
from rss_agents.distributed import own_rows, world_size
from rss_agents.kernels.sample_classes import mix_with_uniform, sample_classes
from rss_agents.random_draws import RandomDraws


def sample_maps(
    probabilities: torch.Tensor,
    num_maps: int,
    draws: RandomDraws,
    *,
    stratified: bool = False,
    exploration: float | torch.Tensor = 0.0,
) -> torch.Tensor:
    """Draw K maps cell by cell.

    Args:
        probabilities: (B, C, P).
        num_maps: K.
        draws: Random numbers, on the same device and alike on all ranks; one of them is used for
            each image of the whole batch.
        stratified: Whether the K maps share out a cell's classes: each class is drawn less than 2
            more or less often than K times its probability, by maps in random order. Every map by
            itself still follows the probabilities, and its cells are independent; but maps of a
            group, which are compared, differ more. Otherwise maps are independent of one another.
        exploration: Share of uniformly random classes. It keeps classes alive: what is learned of a
            class shrinks with its own probability, so a class once rare would be lost.

    Returns:
        (B, K, P) uint8.
    """
    low, high = -(2**63), 2**63 - 1
    keys = draws.integers(low, high, len(probabilities) * world_size())
    if isinstance(exploration, torch.Tensor):  # whose value the host need not know
        probabilities, exploration = mix_with_uniform(probabilities, exploration), 0.0
    return sample_classes(
        probabilities, own_rows(keys), num_maps, stratified=stratified, exploration=exploration
    )


def _stretch(count: torch.Tensor, most: int, size: int) -> torch.Tensor:
    """A matrix (size, most) that interpolates linearly between the first `count` values.

    As `interpolate` does without aligned corners; but how many values there are the host need not
    know.
    """
    place = (torch.arange(size, device=count.device) + 0.5) * count / size - 0.5
    place = place.clamp(min=0)
    low = place.long()
    high = torch.minimum(low + 1, count - 1)
    numbers = torch.arange(most, device=count.device)
    share = (place - low)[:, None]
    return (low[:, None] == numbers) * (1 - share) + (high[:, None] == numbers) * share


def sample_varied_maps(
    probabilities: torch.Tensor,
    num_maps: int,
    grid: tuple[int, int],
    draws: RandomDraws,
    config: VariedMapsConfig,
) -> torch.Tensor:
    """Draw K maps that differ from the most likely one, and from one another, in whole regions.

    Maps whose cells are drawn one by one all score nearly alike. Where feedback is too coarse or
    too noisy to show such differences, maps have to differ in what matters: classes of the whole
    image, and of smooth regions of it. Each map is the most likely one under log-probabilities that
    are disturbed by Gaussian noise of its own strength.

    Args:
        probabilities: (B, C, P), all positive.
        num_maps: K.
        grid: Rows and columns of the P cells.
        draws: Random numbers, on the same device and alike on all ranks.
        config: The noise.

    Returns:
        (B, K, P) uint8.
    """
    batch, classes, cells = probabilities.shape
    everywhere = batch * world_size()  # images; those of other ranks are drawn for as well

    def normal(*shape: int) -> torch.Tensor:
        return own_rows(draws.normal(everywhere * num_maps, classes, *shape))

    most = config.most_regions
    sides = draws.integers(1, most + 1, 2)
    rows, columns = (_stretch(count, most, size) for count, size in zip(sides, grid, strict=True))
    regions = rows @ normal(most, most) @ columns.mT
    noise = (normal(1, 1) + config.region_noise * regions).view(batch, num_maps, classes, cells)
    place = own_rows(draws.uniform(everywhere, num_maps, 1, 1))
    strength = config.weakest * (config.strongest / config.weakest) ** place
    return (probabilities.log()[:, None] + strength * noise).argmax(2).to(torch.uint8)
