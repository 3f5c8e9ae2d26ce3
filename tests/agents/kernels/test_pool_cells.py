"""Pooling of pixels' values to the cells of action maps."""

from __future__ import annotations

import pytest
import torch

from rss_agents.kernels.pool_cells import pool_cells
from rss_env.action_maps import ActionMapGeometry

# images, classes, rows and columns of values, their stride, scales
SHAPES = {
    "nested": (3, 5, 8, 12, 1, (4, 2, 1)),
    "not nested": (2, 3, 12, 24, 1, (6, 4, 1)),
    "only the finer two nested": (2, 3, 20, 40, 1, (10, 4, 2)),
    "nested in threes and fours": (2, 2, 24, 48, 1, (24, 6, 2)),
    "coarse alone": (2, 2, 6, 9, 1, (3,)),
    "one pixel": (1, 2, 1, 1, 1, (1,)),
    "strided": (2, 4, 8, 16, 4, (16, 8, 4)),
    "sixty classes": (2, 60, 4, 4, 1, (2, 1)),
}
EACH_SHAPE = pytest.mark.parametrize("name", SHAPES)


def problem(name):
    images, classes, rows, columns, stride, scales = SHAPES[name]
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(images, classes, rows, columns, generator=generator)
    mirrored = torch.rand(images, generator=generator) < 0.5
    return values, scales, stride, mirrored


@pytest.mark.parametrize("backend", ["reference", "numba"])
@EACH_SHAPE
def test_values_are_means_over_cells(name, backend):
    """From scratch: each value stands for the pixels of its stride."""
    values, scales, stride, mirrored = problem(name)
    found = pool_cells(values, scales, stride, mirrored, backend=backend)
    pixels = values.repeat_interleave(stride, 2).repeat_interleave(stride, 3)
    pixels = torch.stack(
        [own.flip(2) if flip else own for own, flip in zip(pixels, mirrored, strict=True)]
    )
    geometry = ActionMapGeometry((pixels.shape[2], pixels.shape[3]), scales, pixels.shape[1])
    for scale, pooled in zip(scales, geometry.split(found), strict=True):
        blocks = pixels.unflatten(3, (-1, scale)).unflatten(2, (-1, scale))
        torch.testing.assert_close(pooled, blocks.mean((3, 5)).flatten(2))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@EACH_SHAPE
def test_faces_agree_forward_and_backward(name, layout):
    values, scales, stride, mirrored = problem(name)
    results = []
    for backend in ("reference", "numba"):
        leaf = values.to(memory_format=layout).requires_grad_()
        found = pool_cells(leaf, scales, stride, mirrored, backend=backend)
        upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
        found.backward(upstream)
        results.append((found.detach(), leaf.grad))
    for reference, found in zip(*results, strict=True):
        torch.testing.assert_close(found, reference)


def test_the_gradient_is_that_of_finite_differences():
    values, scales, stride, mirrored = problem("nested")
    leaf = values[:, :2].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: pool_cells(v, scales, stride, mirrored), leaf)
    assert torch.autograd.gradgradcheck(  # of something that bends
        lambda v: pool_cells(v, scales, stride, mirrored).exp(), leaf
    )


def test_images_stay_as_they_are_unless_told_otherwise():
    values, scales, stride, mirrored = problem("strided")
    plain = pool_cells(values, scales, stride)
    assert plain.equal(pool_cells(values, scales, stride, torch.zeros_like(mirrored)))
    assert plain[..., -values[0, 0].numel() :].equal(values.flatten(2))
