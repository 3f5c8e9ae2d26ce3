"""Hashes of images and of maps: weighted sums of their bytes, modulo 2^64."""

from __future__ import annotations

import numba
import torch

from rss_env.kernels.dispatch import COMPILED, BatchLoop, choose, traceable


def hash_images_reference(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sums, one row of weights after another."""
    values = images.flatten(1).long()
    return torch.stack([(values * own).sum(1) for own in weights], 1)


@BatchLoop
def _hash(
    images,  # (B, P) uint8
    weights,  # (M, P) int64
    result,  # (B, M) int64; written
):
    for b in numba.prange(len(images)):
        for m in range(len(weights)):
            total = 0
            for p in range(images.shape[1]):
                total += images[b, p] * weights[m, p]
            result[b, m] = total


def _empty_hashes(images, weights, **_) -> torch.Tensor:
    return weights.new_empty(len(images), len(weights))


@traceable("hash_images", _empty_hashes)
def hash_images(
    images: torch.Tensor, weights: torch.Tensor, *, backend: str = "auto"
) -> torch.Tensor:
    """Hash images by each row of weights.

    Args:
        images: (B, ...) uint8, P bytes each.
        weights: (M, P) int64, random numbers.
        backend: `auto`, `reference`, `numba` or `triton`.

    Returns:
        (B, M) int64: sums of bytes times weights, of which the lowest 64 bits are kept.

    Source: multilinear hashing (Carter and Wegman, 1979).
    """
    backend = choose(backend, images, COMPILED)
    if backend == "reference":
        return hash_images_reference(images, weights)
    if backend == "triton":
        from rss_env.kernels.triton.hash_images import hash_images_triton

        return hash_images_triton(images, weights)
    result = _empty_hashes(images, weights)
    _hash(len(images), images.flatten(1), weights, result)
    return result
