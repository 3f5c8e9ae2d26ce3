"""The covariance of counts: backends compared, and both against enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch

from belief_problems import SHAPES, belief_problem, scales_of
from rss_agents.kernels.expected_counts import expected_and_label_counts
from rss_agents.kernels.label_covariance import label_covariance


@pytest.mark.parametrize("most", [1, 9])
@pytest.mark.parametrize("name", SHAPES)
def test_covariance_faces_agree(name, most):
    probabilities, maps = belief_problem(*SHAPES[name])
    probabilities *= torch.randint(1, most + 1, (len(maps), 1, maps.shape[2]))
    offsets = scales_of(maps.shape[2])
    shape = (*maps.shape[:2], len(offsets) - 1, probabilities.shape[1])
    hit, everywhere = torch.rand(2, *shape).unbind()
    reference, found = (
        label_covariance(probabilities, maps, hit, everywhere, offsets, backend=i)
        for i in ("reference", "numba")
    )
    torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-4 * float(reference.max()))


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("name", SHAPES)
def test_covariance_of_cells_that_stand_for_all(name, backend):
    """Some twice, some not at all, and most for several."""
    probabilities, maps = belief_problem(*SHAPES[name])
    scales = scales_of(maps.shape[2])
    cells = torch.cat(
        [
            torch.randint(a, b, (len(maps), 2 * (b - a) // 3 + 1))
            for a, b in itertools.pairwise(scales)
        ],
        1,
    )
    counts = 0.5 + 3 * torch.rand(cells.shape)
    offsets = [0]
    for a, b in itertools.pairwise(scales):
        offsets.append(offsets[-1] + 2 * (b - a) // 3 + 1)
    hit, other = torch.rand(2, *maps.shape[:2], len(scales) - 1, probabilities.shape[1]).unbind()
    found = label_covariance(
        probabilities, maps, hit, other, offsets, cells, counts, backend=backend
    )
    rows = torch.arange(len(maps))[:, None]
    chosen = probabilities.transpose(1, 2)[rows, cells] * counts[..., None]
    drawn = maps.transpose(1, 2)[rows, cells]
    expected = label_covariance(chosen.mT, drawn.mT, hit, other, offsets, backend="reference")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_maps_may_lie_in_a_table(backend):
    probabilities, maps = belief_problem(2, 4, 9, 3)
    table, rows = torch.randint(0, 3, (30, 9), dtype=torch.uint8), torch.randperm(30)[:8].view(2, 4)
    table[rows] = maps
    hit, other = torch.rand(2, 2, 4, 2, 3).unbind()
    sample = ((0, 2, 5), torch.tensor([[0, 1, 3, 5, 8]] * 2), torch.rand(2, 5))
    options = {"backend": backend}
    own = label_covariance(probabilities, table, hit, other, *sample, rows, **options)
    assert own.equal(label_covariance(probabilities, maps, hit, other, *sample, **options))
    results = []
    for own, of_images in ((maps, None), (table, rows)):
        leaf = probabilities.clone().requires_grad_()
        right, _ = expected_and_label_counts(leaf, own, (0, 2, 9), of_images, **options)
        (right * torch.arange(right.numel()).view_as(right)).sum().backward()
        results.append((right.detach(), leaf.grad))
    for own, reference in zip(*results, strict=True):
        torch.testing.assert_close(own, reference, rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_covariance_equals_that_of_all_labels(backend):
    """Three cells of three classes: every label there can be, weighed by its probability."""
    probabilities, maps = belief_problem(1, 4, 3, 3, seed=2)
    hit, everywhere = torch.rand(2, 1, 4, 3).unbind()
    mean, second = torch.zeros(4), torch.zeros(4, 4)
    for label in itertools.product(range(3), repeat=3):
        chance = torch.stack([probabilities[0, z, p] for p, z in enumerate(label)]).prod()
        value = torch.zeros(4)
        for k, (p, z) in itertools.product(range(4), enumerate(label)):
            value[k] += everywhere[0, k, z] + (hit[0, k, z] if maps[0, k, p] == z else 0.0)
        mean += chance * value
        second += chance * value[:, None] * value
    found = label_covariance(
        probabilities,
        maps,
        hit[:, :, None],
        everywhere[:, :, None],
        (0, 3),
        backend=backend,
    )
    torch.testing.assert_close(found[0, 0], second - mean[:, None] * mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_cell_that_stands_for_three_counts_three_times(backend):
    probabilities, maps = belief_problem(2, 4, 7, 3)
    hit, everywhere = torch.rand(2, 2, 4, 1, 3).unbind()
    counts = torch.tensor([1, 3, 1, 2, 1, 1, 3])
    repeated = label_covariance(
        probabilities.repeat_interleave(counts, 2),
        maps.repeat_interleave(counts, 2),
        *(hit, everywhere, (0, 12)),
        backend="reference",
    )
    found = label_covariance(probabilities * counts, maps, hit, everywhere, (0, 7), backend=backend)
    torch.testing.assert_close(found, repeated)
