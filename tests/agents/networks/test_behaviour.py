"""Policies that record: the probabilities that they tell are those that they draw with."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from rss_agents.networks.behaviour import BehaviourPolicy
from rss_agents.networks.build import build_network
from rss_env.action_maps import ActionMapGeometry

GEOMETRY = ActionMapGeometry((8, 8), (8, 4), 3)  # a cell, and 2 x 2


@pytest.fixture(params=["uniform", "network"])
def policy(request, one_thread) -> BehaviourPolicy:
    if request.param == "uniform":
        return BehaviourPolicy(GEOMETRY)
    network: Any = build_network("tiny-unet-silu", 3, (8, 8)).eval()
    torch.nn.init.normal_(network.body.head.weight, std=300)
    return BehaviourPolicy(GEOMETRY, network, temperature=0.5, epsilon=0.1)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8)


def test_every_map_is_drawn_as_often_as_its_probability_says(policy, image):
    draws = 4000
    maps, told = policy.draw(image.expand(draws, -1, -1, -1), np.arange(draws))
    numbers = (maps.long() * 3 ** torch.arange(5)).sum(1)
    counts = torch.bincount(numbers, minlength=3**5).double()
    probabilities = torch.zeros(3**5, dtype=torch.float64)
    probabilities[numbers] = told.sum(1).exp()
    assert told.dtype == torch.float64
    cells = policy.probabilities(image)[0].double()  # (C, 5)
    for classes in itertools.product(range(3), repeat=5):
        number = sum(c * 3**i for i, c in enumerate(classes))
        wanted = cells[list(classes), range(5)].prod()
        if counts[number]:
            torch.testing.assert_close(probabilities[number], wanted, rtol=1e-6, atol=0)
        assert abs(counts[number] - draws * wanted) < 5 * (draws * wanted).sqrt() + 3


def test_probabilities_sum_to_one_and_leave_no_class_out(policy, image):
    probabilities = policy.probabilities(image)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1, 5))
    assert probabilities.min() >= (1 / 3 if policy.network is None else 0.1 / 3) - 1e-6


def test_a_map_is_of_its_own_seed_alone(policy, image):
    images = torch.cat([image, 255 - image, image])
    maps, told = policy.draw(images, np.array([7, 8, 9]))
    for number, seed in enumerate([7, 8, 9]):
        alone, of_it = policy.draw(images[number : number + 1], np.array([seed]))
        torch.testing.assert_close(alone[0], maps[number])
        torch.testing.assert_close(of_it[0], told[number], rtol=1e-5, atol=1e-5)
    assert not torch.equal(*policy.draw(image.expand(2, -1, -1, -1), np.array([7, 10]))[0])
