"""Drawing action maps from a policy: cell by cell, or varied in whole regions and classes."""

from __future__ import annotations

import torch

from rss_agents.distributed import own_rows, world_size
from rss_agents.kernels.sample_classes import sample_classes

# Varied maps: logits are disturbed by noise of a strength between these, drawn for each map. Weak
# noise moves borders, strong noise makes maps of a few regions of a few classes.
_WEAKEST, _STRONGEST = 0.5, 4.0
_REGIONS_OVER_IMAGE = 1.5  # deviation of the noise of regions, over that of the whole image
_MOST_REGIONS = 4  # along a side


def sample_maps(
    probabilities: torch.Tensor,
    num_maps: int,
    generator: torch.Generator | None,
    *,
    stratified: bool = False,
    exploration: float = 0.0,
) -> torch.Tensor:
    """Draw K maps cell by cell.

    Args:
        probabilities: (B, C, P).
        num_maps: K.
        generator: Random state, on the same device and alike on all ranks; one number of it is used
            for each image of the whole batch. None for torch's global one.
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
    shape = (len(probabilities) * world_size(),)
    keys = torch.randint(low, high, shape, generator=generator, device=probabilities.device)
    how = {"stratified": stratified, "exploration": exploration}
    return sample_classes(probabilities, own_rows(keys), num_maps, **how)


def _stretch(count: torch.Tensor, size: int) -> torch.Tensor:
    """A matrix (size, _MOST_REGIONS) that interpolates linearly between the first `count` values.

    As `interpolate` does without aligned corners; but how many values there are the host need not
    know.
    """
    place = (torch.arange(size, device=count.device) + 0.5) * count / size - 0.5
    place = place.clamp(min=0)
    low = place.long()
    high = torch.minimum(low + 1, count - 1)
    numbers = torch.arange(_MOST_REGIONS, device=count.device)
    share = (place - low)[:, None]
    return (low[:, None] == numbers) * (1 - share) + (high[:, None] == numbers) * share


def sample_varied_maps(
    probabilities: torch.Tensor, num_maps: int, grid: tuple[int, int], generator: torch.Generator
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
        generator: Random state, on the same device and alike on all ranks.

    Returns:
        (B, K, P) uint8.
    """
    batch, classes, cells = probabilities.shape
    device = probabilities.device

    everywhere = batch * world_size()  # images; those of other ranks are drawn for as well

    def normal(*shape: int) -> torch.Tensor:
        size = (everywhere * num_maps, classes, *shape)
        return own_rows(torch.randn(size, generator=generator, device=device))

    sides = torch.randint(1, _MOST_REGIONS + 1, (2,), generator=generator, device=device)
    rows, columns = (_stretch(count, size) for count, size in zip(sides, grid, strict=True))
    regions = rows @ normal(_MOST_REGIONS, _MOST_REGIONS) @ columns.mT
    noise = (normal(1, 1) + _REGIONS_OVER_IMAGE * regions).view(batch, num_maps, classes, cells)
    place = own_rows(torch.rand(everywhere, num_maps, 1, 1, generator=generator, device=device))
    strength = _WEAKEST * (_STRONGEST / _WEAKEST) ** place
    return (probabilities.log()[:, None] + strength * noise).argmax(2).to(torch.uint8)
