"""Batches of images: fresh, flipped, repeated, alike by reference and by numba."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from label_problems import SHAPES, action_problem, assert_alike, problem
from rss_env.kernels.gather_images import gather_images


@pytest.mark.parametrize("name", SHAPES)
def test_gathered_batches_are_those_of_the_reference(name):
    labels, _, index, mirrored = problem(*SHAPES[name], seed=1)
    expected = gather_images(labels, index, mirrored, 3, backend="reference")
    found = gather_images(labels, index, mirrored, 3, backend="numba")
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_arrays_are_gathered_as_tensors(backend):
    labels, _, _, index, mirrored = action_problem()
    assert_alike(
        gather_images(torch.from_numpy(labels), index, mirrored, 2, backend=backend),
        gather_images(labels, index.numpy(), mirrored.numpy(), 2, backend=backend),
    )


def test_gathered_images_are_fresh_and_flipped():
    images = torch.arange(2 * 2 * 3 * 3, dtype=torch.uint8).view(2, 2, 3, 3)
    index, mirrored = torch.tensor([1, 0]), torch.tensor([True, False])
    batch = gather_images(images, index, mirrored, 2)
    assert batch.shape == (4, 2, 3, 3)
    torch.testing.assert_close(batch[0], images[1].flip(1))
    torch.testing.assert_close(batch[1], images[1].flip(1))
    torch.testing.assert_close(batch[3], images[0])
    batch.zero_()
    assert images.sum() > 0


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 2, 17])
def test_images_of_any_depth_are_flipped(depth, width):
    images = torch.randint(0, 256, (3, 4, width, depth), dtype=torch.uint8)
    index, mirrored = torch.tensor([2, 0, 2]), torch.tensor([True, False, False])
    into = np.empty((6, 4, width, depth), np.uint8)
    batch = gather_images(images.numpy(), index.numpy(), mirrored.numpy(), 2, into=into)
    assert batch is into
    expected = gather_images(images, index, mirrored, 2, backend="reference")
    np.testing.assert_array_equal(batch, expected.numpy())
