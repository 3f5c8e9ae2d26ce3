"""Kernels of what is believed of labels: backends compared, and both against enumeration."""

from __future__ import annotations

import itertools

import pytest
import torch

from rss_agents.kernels.advantage_map import advantage_map
from rss_agents.kernels.cell_uncertainty import cell_uncertainty
from rss_agents.kernels.expected_counts import expected_and_label_counts, expected_counts
from rss_agents.kernels.label_covariance import label_covariance
from rss_agents.kernels.pairwise_difference import pairwise_spatial_difference

# images, members, cells, classes
SHAPES = {
    "one cell": (1, 1, 1, 2),
    "odd": (3, 5, 77, 5),
    "sixty classes": (2, 3, 35, 60),
    "one image": (1, 7, 64, 3),
    "more cells than a tile": (2, 9, 1700, 21),
    "most classes": (2, 2, 9, 255),
}


def problem(images, members, cells, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.randn(images, classes, cells, generator=generator).mul(2).softmax(1)
    maps = torch.randint(0, classes, (images, members, cells), generator=generator)
    return probabilities, maps.to(torch.uint8)


def scales_of(cells):
    """Offsets of up to three scales that make up the cells."""
    return sorted({0, cells // 5, cells // 3, cells})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_expected_counts_agree_forward_and_backward(name, dtype):
    probabilities, maps = problem(*SHAPES[name])
    offsets = scales_of(maps.shape[2])
    upstream = torch.randn(*maps.shape[:2], len(offsets) - 1, probabilities.shape[1])
    results = []
    for backend in ("reference", "numba"):
        leaf = probabilities.to(dtype).requires_grad_()
        right, labelled = expected_and_label_counts(leaf, maps, offsets, backend=backend)
        ((right * upstream).sum() + (labelled * upstream[:, 0].square()).sum()).backward()
        results.append((right.detach(), labelled.detach(), leaf.grad))
    for reference, found in zip(*results, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, reference, rtol=1e-5, atol=1e-5)


def test_expected_counts_alone_and_with_those_of_labels():
    probabilities, maps = problem(2, 3, 30, 4)
    right, labelled = expected_and_label_counts(probabilities, maps, (0, 10, 30))
    assert right.equal(expected_counts(probabilities, maps, (0, 10, 30)))
    torch.testing.assert_close(labelled.sum(2), torch.tensor([[10.0, 20.0]] * 2))
    leaf = probabilities.requires_grad_()
    expected_counts(leaf, maps, (0, 10, 30)).sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad.sum(1), torch.full((2, 30), 3.0))


def test_expected_counts_of_maps_that_are_not_contiguous():
    probabilities, maps = problem(3, 6, 700, 5)
    turned = maps.transpose(1, 2).contiguous().transpose(1, 2)
    rates = probabilities.transpose(1, 2).contiguous().transpose(1, 2)
    expected = expected_counts(probabilities, maps, (0, 100, 700), backend="reference")
    torch.testing.assert_close(expected_counts(rates, turned, (0, 100, 700)), expected)


def test_expected_counts_of_certain_labels_are_counts():
    labels, maps = torch.tensor([[0, 1, 1, 2]]), torch.tensor([[[0, 1, 2, 2]]], dtype=torch.uint8)
    certain = torch.nn.functional.one_hot(labels, 3).transpose(1, 2).float()
    assert expected_counts(certain, maps, (0, 4)).tolist() == [[[[1, 1, 1]]]]
    assert expected_counts(certain, maps, (0, 1, 4)).tolist() == [[[[1, 0, 0], [0, 1, 1]]]]


@pytest.mark.parametrize("most", [1, 9])
@pytest.mark.parametrize("name", SHAPES)
def test_covariance_faces_agree(name, most):
    probabilities, maps = problem(*SHAPES[name])
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
    probabilities, maps = problem(*SHAPES[name])
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
    probabilities, maps = problem(2, 4, 9, 3)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_uncertainty_of_cells_is_the_variance_of_their_labels(name, dtype):
    probabilities, _ = problem(*SHAPES[name])
    probabilities = probabilities.to(dtype)
    offsets = scales_of(probabilities.shape[2])
    weights = torch.rand(len(probabilities), len(offsets) - 1, probabilities.shape[1], dtype=dtype)
    expected = torch.zeros(len(probabilities), offsets[-1], dtype=dtype)
    for s, (start, stop) in enumerate(itertools.pairwise(offsets)):
        for c in range(probabilities.shape[1]):
            chance = probabilities[:, c, start:stop]
            expected[:, start:stop] += weights[:, s, c, None] * chance * (1 - chance)
    turned = probabilities.transpose(1, 2).contiguous().transpose(1, 2)
    for backend in ("reference", "numba"):
        found = cell_uncertainty(turned, weights, offsets, backend=backend)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_covariance_equals_that_of_all_labels(backend):
    """Three cells of three classes: every label there can be, weighed by its probability."""
    probabilities, maps = problem(1, 4, 3, 3, seed=2)
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
    probabilities, maps = problem(2, 4, 7, 3)
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape[1] > 1])
def test_pairwise_difference_faces_agree(name, dtype):
    _, maps = problem(*SHAPES[name])
    maps[0, 1] = maps[0, 0]  # a pair of equal maps
    scores = torch.rand(maps.shape[:2], dtype=dtype)
    reference, found = (
        pairwise_spatial_difference(scores, maps, backend=i) for i in ("reference", "numba")
    )
    assert found.dtype == dtype
    torch.testing.assert_close(found, reference)


def test_pairwise_difference_of_maps_that_are_not_contiguous():
    _, maps = problem(3, 4, 35, 3)
    scores = torch.rand(3, 4)
    turned = maps.transpose(1, 2).contiguous().transpose(1, 2)
    expected = pairwise_spatial_difference(scores, maps, backend="reference")
    torch.testing.assert_close(pairwise_spatial_difference(scores, turned), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SHAPES)
def test_advantage_map_is_the_gradient_of_the_gains(name, dtype):
    probabilities, maps = problem(*SHAPES[name])
    turned = maps.transpose(1, 2).contiguous().transpose(1, 2)
    advantages = torch.randn(maps.shape, dtype=dtype)
    leaf = probabilities.to(dtype).log().requires_grad_()
    gains = (advantages * leaf.gather(1, maps.long())).sum()
    expected = torch.autograd.grad(gains, leaf)[0]
    for backend in ("reference", "numba"):
        found = advantage_map(advantages, turned, probabilities.shape[1], backend=backend)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected)
