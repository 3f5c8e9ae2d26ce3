"""The incumbent: it answers until other answers score better."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rss_agents import train
from rss_agents.algorithms.incumbent import Incumbent
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
from rss_agents.networks.names import DEFAULT_NETWORK
from rss_env.datasets import open_dataset
from rss_env.errors import InputError
from training_runs import TINY, assert_alike, start, start_and_stop

CLASSES, CELLS = 3, 20


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return tuple(build_network("tiny-unet", CLASSES, (16, 16)) for _ in range(2))


def same(one, other) -> bool:
    others = other.state_dict()
    return all(value.equal(others[name]) for name, value in one.state_dict().items())


def scores_of(*means: float, images: int = 8) -> torch.Tensor:
    """Scores (B, 3) that vary from image to image, and a little from map to map."""
    random = torch.Generator().manual_seed(1)
    level = torch.rand(images, 1, generator=random)
    return torch.tensor(means) + level + 0.01 * torch.randn(images, 3, generator=random)


def test_better_answers_make_a_new_incumbent(networks):
    first, other = networks
    incumbent = Incumbent(first)
    assert same(incumbent.network, first)
    incumbent.follow(other)
    other.decide.observe(torch.rand(2, CLASSES, 4, 4).softmax(1), "miou")
    incumbent.compare(scores_of(0.5, 0.4, 0.45), other.decide)
    assert same(incumbent.network, first)
    incumbent.compare(scores_of(0.5, 0.5, 0.7), other.decide)
    assert same(incumbent.network, other)
    assert incumbent.network.decide.has_observed
    assert not incumbent.network.training


def test_the_most_likely_classes_may_be_better_than_decisions(networks):
    first, other = networks
    incumbent = Incumbent(first)
    incumbent.follow(other)
    other.decide.observe(torch.rand(2, CLASSES, 4, 4).softmax(1), "miou")
    incumbent.compare(scores_of(0.5, 0.7, 0.6), other.decide)
    assert same(incumbent.network.body, other.body)
    assert not incumbent.network.decide.has_observed
    assert other.decide.has_observed


def test_chance_makes_no_new_incumbent(networks):
    """A gain that is small beside how much gains differ."""
    first, other = networks
    level = torch.linspace(0.2, 0.8, 16)[:, None]
    differing = torch.tensor([0.1, -0.1]).repeat(8)[:, None]
    cases = ((0.0, 0.5, False), (0.01, 0.5, False), (0.015, 0.5, True), (0.015, 1.0, False))
    for gain, gain_errors, changes in cases:
        incumbent = Incumbent(first, gain_errors=gain_errors)
        incumbent.follow(other)
        incumbent.compare(torch.cat([level, level + differing + gain], 1), other.decide)
        assert same(incumbent.network, other) is changes


def test_what_is_hardly_better_makes_no_new_incumbent(networks):
    """However sure it is: what scores may itself err by so little."""
    first, other = networks
    level = torch.linspace(0.2, 0.8, 16)[:, None]
    scores = torch.cat([level, 1.004 * level], 1)
    careful, careless = Incumbent(first, least_gain=0.005), Incumbent(first)
    for incumbent in (careful, careless):
        incumbent.follow(other)
        incumbent.compare(scores, other.decide)
    assert same(careful.network, first)
    assert same(careless.network, other)


def test_the_challenger_is_the_average_of_what_learns(networks):
    first, other = networks
    incumbent = Incumbent(first)
    incumbent.follow(first)
    incumbent.follow(other)
    pairs = zip(first.body.parameters(), other.body.parameters(), strict=True)
    expected = [0.98 * one + 0.02 * two for one, two in pairs]
    for value, wanted in zip(incumbent.challenger.body.parameters(), expected, strict=True):
        torch.testing.assert_close(value, wanted)
    assert same(incumbent.network, first)
    assert not incumbent.challenger.training
    assert not any(value.requires_grad for value in incumbent.challenger.parameters())


def test_answers_are_those_of_the_networks(networks):
    first, other = networks
    incumbent = Incumbent(first)
    cells, own = (torch.rand(2, CLASSES, CELLS).softmax(1) for _ in range(2))
    answers = incumbent.answers(cells, own, other.decide)
    assert answers.dtype == torch.uint8
    assert answers[:, 0].equal(own.argmax(1).to(torch.uint8))
    assert answers[:, 1].equal(cells.argmax(1).to(torch.uint8))
    assert answers[:, 2].equal(answers[:, 1])  # nothing is known of the classes yet
    other.decide.observe(torch.rand(2, CLASSES, 4, 4).softmax(1), "miou")
    decided = other.decide.values(cells.log()[..., None])[..., 0].argmax(1)
    assert incumbent.answers(cells, own, other.decide)[:, 2].equal(decided.to(torch.uint8))


SIX = ("--group-size", "6")


def test_a_training_that_gets_worse_answers_as_it_started(tmp_path):
    """The start calls everything a house, which is what is scored: nothing is better."""
    torch.manual_seed(0)
    network = build_network(DEFAULT_NETWORK, 6, (16, 16))
    with torch.no_grad():
        network.body.head.bias[2] += 20  # type: ignore[index]
    data = open_dataset("Shapes")
    description = NetworkDescription.of(DEFAULT_NETWORK, (16, 16), data.class_names, data.palette)
    (tmp_path / "first").mkdir()
    save_checkpoint(tmp_path / "first", network, description)
    begin = ("--start-from", str(tmp_path / "first"), *SIX, "--learning-rate", "0.3")
    scorer = ("--scorer", "training_runs:prefer_houses", "--exploration", "0.5")
    start(tmp_path / "kept", *begin, *scorer)
    start(tmp_path / "lost", *begin, *scorer, "--no-keep-answers")
    first, kept, lost = (
        load_file(tmp_path / run / "model.safetensors") for run in ("first", "kept", "lost")
    )
    body = [name for name in first if name.startswith("body.")]
    assert all(kept[name].equal(first[name]) for name in body)
    assert not all(lost[name].equal(first[name]) for name in body)


def test_an_incumbent_goes_on_bit_for_bit(tmp_path, monkeypatch, one_thread):
    train.main([*TINY, "--algo", "psl", "--updates", "2", "--out", str(tmp_path / "first")])
    begin = ("--start-from", str(tmp_path / "first"), *SIX)
    start(tmp_path / "whole", *begin)
    start_and_stop(monkeypatch, tmp_path / "stopped", *begin)
    train.main(["--resume", str(tmp_path / "stopped")])
    assert_alike(tmp_path / "whole", tmp_path / "stopped")


def test_a_run_from_other_classes_goes_on_bit_for_bit(tmp_path, monkeypatch, one_thread):
    """It has no trained answers to keep, and knows that when it is resumed."""
    images = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    (tmp_path / "first").mkdir()
    description = NetworkDescription.of(
        DEFAULT_NETWORK, (16, 16), ["a", "b"], np.zeros((2, 3), np.uint8)
    )
    save_checkpoint(tmp_path / "first", build_network(DEFAULT_NETWORK, 2, (16, 16)), description)
    begin = ("--start-from", str(tmp_path / "first"), *SIX)
    start(tmp_path / "whole", *begin)
    start_and_stop(monkeypatch, tmp_path / "stopped", *begin)
    with monkeypatch.context() as patch:
        patch.setattr("rss_agents.training.setup.is_whole_start", _gone)
        with pytest.raises(SystemExit):
            train.main(["--resume", str(tmp_path / "stopped")])
    train.main(["--resume", str(tmp_path / "stopped")])
    assert_alike(tmp_path / "whole", tmp_path / "stopped")
    whole = load_checkpoint(tmp_path / "whole")[0]
    assert whole.predict(images).shape == (2, 16, 16)


def _gone(folder, *_):
    raise InputError(f"no checkpoint at {folder}")
