"""Regions of a map, and maps that change one of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from rss_agents.algorithms.region_flips import connected_regions, flip_regions
from rss_env.labels import VOID

GRIDS = [(1, 1), (1, 7), (5, 1), (6, 9), (17, 13), (64, 48)]


def opencv_regions(kinds: torch.Tensor) -> np.ndarray:
    """Numbers (rows, columns) of the regions of each kind, by OpenCV."""
    numbers = np.zeros(kinds.shape, np.int64)
    for kind in kinds.unique().tolist():
        inside = (kinds == kind).numpy()
        _, found = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
        numbers[inside] = numbers.max() + found[inside]
    return numbers


def smooth_classes(classes: int, grid: tuple[int, int], seed: int) -> torch.Tensor:
    """(2, classes, rows * columns) probabilities that change slowly."""
    noise = torch.randn(2, classes, *grid, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
    return (4 * smooth).flatten(2).softmax(1)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("kinds", [1, 2, 5])
def test_regions_are_those_of_opencv(grid, kinds):
    given = torch.randint(kinds, (3, *grid), generator=torch.Generator().manual_seed(kinds))
    numbers = connected_regions(given).view(3, *grid)
    for own, other in zip(numbers, map(opencv_regions, given), strict=True):
        pairs = {*zip(own.flatten().tolist(), other.flatten().tolist(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_a_winding_region_is_one():
    """Whose cells are far from each other along it."""
    kinds = torch.zeros(63, 61, dtype=torch.long)
    kinds[::2] = 1
    kinds[1::4, -1] = kinds[3::4, 0] = 1
    numbers = connected_regions(kinds[None]).view(63, 61)
    assert numbers[kinds == 1].unique().numel() == 1
    assert numbers[kinds == 0].unique().numel() == 31


def test_each_map_changes_one_region_to_its_most_likely_other_class():
    grid, classes = (12, 10), 4
    beliefs = smooth_classes(classes, grid, 0)
    maps = beliefs.argmax(1).to(torch.uint8)
    nothing = torch.full_like(maps, VOID)
    flips = flip_regions(beliefs, maps, nothing, 5, grid)
    assert flips.shape == (2, 5, 120)
    second = beliefs.topk(2, 1).indices[:, 1]
    kinds = (maps.long() * classes + second).unflatten(1, grid)
    worth = []
    for image in range(2):
        regions = torch.from_numpy(opencv_regions(kinds[image])).flatten()
        for flipped in flips[image]:
            changed = flipped != maps[image]
            assert flipped[changed].long().equal(second[image][changed])
            assert changed.equal(regions == regions[changed][0])
            likely = beliefs[image].gather(0, second[image][None])[0][changed]
            worth.append(float(likely.mean() * changed.sum() ** 0.5))
    for of_image in (worth[:5], worth[5:]):
        assert of_image == sorted(of_image, reverse=True)


def test_what_was_refused_is_not_proposed_again():
    grid = (12, 10)
    beliefs = smooth_classes(3, grid, 1)
    maps = beliefs.argmax(1).to(torch.uint8)
    refused = beliefs.topk(2, 1).indices[:, 1].to(torch.uint8)
    flips = flip_regions(beliefs, maps, refused, 4, grid)
    changed = flips != maps[:, None]
    assert changed.any(2).all()
    assert not (changed & (flips == refused[:, None])).any()


def test_without_regions_maps_stay_as_they_are():
    beliefs = torch.full((1, 2, 12), 0.5)
    maps = torch.zeros(1, 12, dtype=torch.uint8)
    flips = flip_regions(beliefs, maps, torch.full_like(maps, VOID), 3, (3, 4))
    assert flips[0, 0].eq(1).all()  # the one region there is
    assert flips[0, 1:].eq(0).all()
    assert flip_regions(beliefs, maps, maps, 0, (3, 4)).shape == (1, 0, 12)
