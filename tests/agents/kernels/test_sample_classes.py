"""The kernel that draws classes: its backends agree, and its numbers are counters."""

from __future__ import annotations

import pytest
import torch

from belief_problems import sampling_problem
from rss_agents.kernels.sample_classes import _finalise, _signed, mix_with_uniform, sample_classes
from rss_env import counter_random


@pytest.mark.parametrize("exploration", [0.0, 0.3])
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("images", "classes", "cells", "members"),
    [(2, 5, 7, 3), (1, 2, 1, 8), (3, 60, 130, 1), (1, 19, 64, 2), (2, 256, 65, 33)],
)
def test_faces_agree(images, classes, cells, members, dtype, stratified, exploration):
    probabilities, keys = sampling_problem(images, classes, cells, dtype)
    options = {"stratified": stratified, "exploration": exploration}
    drawn = [
        sample_classes(probabilities, keys, members, backend=backend, **options)
        for backend in ("reference", "numba")
    ]
    assert drawn[0].shape == (images, members, cells)
    assert drawn[0].dtype == drawn[1].dtype == torch.uint8
    assert drawn[0].equal(drawn[1])
    mixed = mix_with_uniform(probabilities, exploration)
    assert drawn[0].equal(sample_classes(mixed, keys, members, stratified=stratified))


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_layout_does_not_matter(backend, stratified):
    probabilities, keys = sampling_problem(2, 4, 30)
    strided = probabilities.transpose(1, 2).contiguous().transpose(1, 2)
    options = {"stratified": stratified, "backend": backend}
    expected = sample_classes(probabilities, keys, 5, **options)
    assert sample_classes(strided, keys, 5, **options).equal(expected)
    assert sample_classes(strided, keys.repeat_interleave(2)[::2], 5, **options).equal(expected)


@pytest.mark.parametrize("stratified", [False, True])
def test_a_draw_depends_on_its_own_image_alone(stratified):
    probabilities, keys = sampling_problem(6, 4, 50)
    together = sample_classes(probabilities, keys, 3, stratified=stratified)
    for rows in ([4], [5, 0, 2]):
        alone = sample_classes(probabilities[rows], keys[rows], 3, stratified=stratified)
        assert alone.equal(together[rows])
    flat = torch.full_like(probabilities, 0.25)
    images = sample_classes(flat, keys, 3, stratified=stratified).flatten(1)
    alike = (images[:, None] == images[None]).float().mean(2)
    assert alike[~torch.eye(6, dtype=torch.bool)].max() < 0.45  # 0.25, for other keys
    cells = sample_classes(flat[:1, :, :1].expand(1, 4, 5000), keys[:1], 2)[0].long()
    pairs = torch.bincount(cells[0, 1:] * 4 + cells[0, :-1], minlength=16) / 4999
    torch.testing.assert_close(pairs, torch.full((16,), 1 / 16), atol=0.015, rtol=0)


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_classes_without_probability_are_not_drawn(backend, stratified):
    probabilities = torch.zeros(3, 5, 2000)
    probabilities[:, 1], probabilities[:, 3] = 0.1, 0.9
    keys = torch.tensor([0, -1, 2**63 - 1])
    drawn = sample_classes(probabilities, keys, 4, stratified=stratified, backend=backend)
    assert set(drawn.unique().tolist()) == {1, 3}
    assert (drawn == 1).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_the_hash_is_that_of_the_environments():
    """One generator in three forms: NumPy's here, torch's and numba's in the kernel."""
    numbers = torch.tensor([0, 1, 12345, 2**62])
    expected = counter_random.hash_counters(numbers.numpy())
    gamma = _signed(0x9E3779B97F4A7C15)
    assert (_finalise(numbers + gamma).numpy().view("uint64") == expected).all()


def test_mixed_probabilities_sum_to_one():
    probabilities = mix_with_uniform(torch.tensor([[[1.0], [0.0], [0.0]]]), 0.3)
    torch.testing.assert_close(probabilities[0, :, 0], torch.tensor([0.8, 0.1, 0.1]))
