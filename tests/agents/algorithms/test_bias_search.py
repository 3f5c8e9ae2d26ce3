"""The search for the biases of classes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from rss_agents.algorithms.bias_search import BiasSearch
from rss_agents.algorithms.bias_search_config import BiasSearchConfig
from rss_agents.random_draws import RandomDraws
from rss_env.errors import InputError

CLASSES, CELLS, BATCHES = 4, 60, 30
SETTLED = BiasSearchConfig().settled(few_scores=False)


def draws() -> RandomDraws:
    return RandomDraws(torch.Generator().manual_seed(0))


def searched(score, config: BiasSearchConfig = SETTLED) -> torch.Tensor:
    """The biases that were found for beliefs that draw class 3 nowhere."""
    torch.manual_seed(1)
    logits = torch.randn(8, CLASSES, CELLS)
    logits[:, 3] -= 2.5
    bias = nn.Parameter(torch.zeros(CLASSES))
    search, random = BiasSearch(bias, BATCHES, config), draws()
    while not search.is_over:
        policy = (logits + bias.detach()[:, None]).softmax(1)
        search.step(score(search.draw(policy, 8, random)))
    return bias.detach()


@pytest.mark.parametrize("few_scores", [False, True])
def test_a_class_that_is_drawn_too_seldom_is_found(few_scores):
    """Scores are a share of right pixels, warped and rounded to six values."""
    truth = torch.arange(CELLS) % CLASSES

    def stars(maps: torch.Tensor) -> torch.Tensor:
        right = ((maps == truth) & (truth == 3)).float().mean(2) * CLASSES
        return (right.sqrt() * 5).round() / 5

    found = searched(stars, BiasSearchConfig().settled(few_scores=few_scores))
    assert found[3] - found[:3].mean() > 2


def test_scores_that_say_nothing_move_nothing():
    assert searched(lambda maps: torch.full(maps.shape[:2], 0.3)).abs().max() < 1e-4


def test_maps_of_a_pair_are_disturbed_in_opposite_ways():
    policy = torch.full((2, CLASSES, CELLS), 1 / CLASSES)
    search = BiasSearch(
        nn.Parameter(torch.zeros(CLASSES)), 1, dataclasses.replace(SETTLED, share=1.0)
    )
    maps = search.draw(policy, 4, draws())
    assert maps.shape == (2, 4, CELLS)
    assert not (maps[:, 0] == maps[:, 1]).any()  # the class that one favours is last in the other


def test_a_batch_without_maps_of_it_counts_and_moves_nothing():
    bias = nn.Parameter(torch.zeros(CLASSES))
    search = BiasSearch(bias, 2, SETTLED)
    policy, random = torch.full((2, CLASSES, CELLS), 1 / CLASSES), draws()
    for over in (False, True):
        search.draw(policy, 2, random)
        search.step(torch.zeros(2, 0))
        assert search.is_over == over
    assert not bias.any()


def test_it_goes_on_from_a_state():
    score = torch.rand(8, 8, generator=torch.Generator().manual_seed(2))
    biases = [nn.Parameter(torch.zeros(CLASSES)) for _ in range(2)]
    first, second = (BiasSearch(bias, 4, SETTLED) for bias in biases)
    policy, random = torch.full((8, CLASSES, CELLS), 1 / CLASSES), draws()
    for _ in range(2):
        first.draw(policy, 8, random)
        first.step(score)
    state, at = first.get_state(), random.get_state()
    second.set_state(state)
    biases[1].data.copy_(biases[0].data)
    for search in (first, second):
        random.set_state(at)
        search.draw(policy, 8, random)
        search.step(score)
        search.draw(policy, 8, random)
        search.step(score)
        assert search.is_over
    assert biases[0].equal(biases[1])
    assert biases[0].abs().max() > 0


def test_what_is_left_open_is_settled_by_how_many_scores_there_are():
    few, many = (BiasSearchConfig().settled(few_scores=few) for few in (True, False))
    assert few.spread is not None
    assert few.share is not None
    assert many.spread is not None
    assert many.share is not None
    assert few.spread < many.spread
    assert few.share > many.share
    told = BiasSearchConfig(spread=0.7, share=0.1)
    assert told.settled(few_scores=True) == told.settled(few_scores=False) == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scores", -1),
        ("share", 0),
        ("budget_share", 0),
        ("budget_share", 2),
        ("spread", 0),
        ("rate", -1),
        ("least_explained", 2),
    ],
)
def test_values_that_search_nothing_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        BiasSearchConfig(**{name: value}).check()
