"""Hashes of images: both backends against whole numbers of Python."""

from __future__ import annotations

import pytest
import torch

from rss_env.kernels.hash_images import hash_images


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 5, 4, 3)])
def test_hashes_are_weighted_sums_modulo_two_to_the_64(shape, backend):
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    weights = torch.randint(-(2**62), 2**62, (2, images[0].numel()))
    found = hash_images(images, weights, backend=backend)
    for image, own in zip(images, found.tolist(), strict=True):
        for row, number in zip(weights.tolist(), own, strict=True):
            total = sum(a * b for a, b in zip(image.flatten().tolist(), row, strict=True))
            assert (total - number) % 2**64 == 0
