"""Decisions for a metric: by enumeration, and in a network."""

from __future__ import annotations

import itertools

import pytest
import torch

from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
from rss_agents.networks.decisions import MetricDecision
from rss_agents.networks.names import DEFAULT_NETWORK
from rss_agents.training.run import restore_values, values_of

METRICS = ["miou", "dice", "mean_accuracy", "pixel_accuracy"]


def test_pixel_accuracy_asks_for_the_most_likely_class():
    decide = MetricDecision(5)
    logits = torch.randn(2, 5, 3, 4)
    decide.observe(logits.softmax(1), "pixel_accuracy")
    assert torch.equal(decide(logits).argmax(1), logits.argmax(1))


def test_a_class_that_is_nowhere_is_never_the_answer():
    decide = MetricDecision(3)
    logits = torch.randn(2, 3, 8, 8)
    logits[:, 2] = -30.0
    decide.observe(logits.softmax(1), "miou")
    assert (decide(logits).argmax(1) != 2).all()


def test_tails_of_the_softmax_are_no_class():
    """A class that no label has keeps a probability, here and there a larger one."""
    torch.manual_seed(0)
    decide = MetricDecision(4)
    logits = torch.randn(2, 4, 64, 64)
    logits[:, 2] = 2 * torch.randn(2, 64, 64) - 10.0
    probabilities = logits.softmax(1)
    assert probabilities[:, 2].max() > 0.02
    decide.observe(probabilities, "miou")
    answers = decide(logits).argmax(1)
    assert (answers != 2).all()
    assert answers.unique().tolist() == [0, 1, 3]
    assert torch.isfinite(decide(logits)).all()


def test_what_was_believed_long_ago_makes_no_class():
    """A class that all believe in at first, and nobody in the end, is not answered with."""
    torch.manual_seed(0)
    decide = MetricDecision(4)
    vague, sure = torch.zeros(2, 4, 64, 64), torch.randn(2, 4, 64, 64)
    sure[:, 2] = 2 * torch.randn(2, 64, 64) - 8.0
    for logits in [vague] * 100 + [sure] * 100:
        decide.observe(logits.softmax(1), "miou")
    assert decide(sure).argmax(1).unique().tolist() == [0, 1, 3]


def test_a_state_of_an_earlier_version_goes_on():
    """It has one mean, which stands for the recent one until there is one."""
    network = build_network(DEFAULT_NETWORK, 3, (8, 8))
    network.decide.observe(torch.randn(2, 3, 8, 8).softmax(1), "miou")
    saved = {name: value.clone() for name, value in values_of(network).items()}
    del saved["decide._recent"]
    other = build_network(DEFAULT_NETWORK, 3, (8, 8))
    restore_values(other, saved)
    state = values_of(other)
    assert state["decide._seen"].equal(saved["decide._seen"])
    assert state["decide._recent"].equal(saved["decide._seen"])


def expected_metric(answer, probabilities, metric):
    """The mean over all label maps of the metric of an answer, by enumeration."""
    pixels, classes = probabilities.shape
    total = 0.0
    for label in itertools.product(range(classes), repeat=pixels):
        chance, ratios = 1.0, []
        for p, c in enumerate(label):
            chance *= float(probabilities[p, c])
        for c in range(classes):
            right = sum(a == c and z == c for a, z in zip(answer, label, strict=True))
            predicted, labelled = answer.count(c), label.count(c)
            union = predicted + labelled - right
            if metric == "miou" and union:
                ratios.append(right / union)
            elif metric == "dice" and predicted + labelled:
                ratios.append(2 * right / (predicted + labelled))
            elif metric == "mean_accuracy" and labelled:
                ratios.append(right / labelled)
        total += chance * sum(ratios) / len(ratios)
    return total


@pytest.mark.parametrize("metric", ["miou", "dice", "mean_accuracy"])
def test_decisions_are_better_in_expectation_than_the_most_likely_classes(metric):
    """Nine sure pixels of one class, and three where another is nearly as likely."""
    probabilities = torch.tensor([[0.98, 0.02]] * 9 + [[0.55, 0.45]] * 3)
    logits = probabilities.log().T.view(1, 2, 12, 1)
    decide = MetricDecision(2)
    decide.observe(logits.softmax(1), metric)
    likely, decided = (
        tuple(values.argmax(1).flatten().tolist()) for values in (logits, decide(logits))
    )
    assert likely == (0,) * 12
    assert decided == (0,) * 9 + (1,) * 3
    better = expected_metric(decided, probabilities, metric)
    assert better > expected_metric(likely, probabilities, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_beliefs_are_averaged_over_batches(metric):
    """Two halves seen in turn, often, decide nearly as the whole."""
    beliefs = torch.randn(8, 4, 6, 6).mul(2).softmax(1)
    whole, halves = MetricDecision(4), MetricDecision(4)
    whole.observe(beliefs, metric)
    for _ in range(200):
        for half in beliefs.split(4):
            halves.observe(half, metric)
    torch.testing.assert_close(halves.gains, whole.gains, rtol=0.02, atol=1e-3)
    torch.testing.assert_close(halves.costs, whole.costs, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_forward_gives_logits_whatever_was_decided(training):
    network = build_network(DEFAULT_NETWORK, 3, (16, 16)).train(training)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    before = network(images)
    network.decide.observe(before.softmax(1), "miou")
    torch.testing.assert_close(network(images), before)


def test_trained_network_decides_and_its_checkpoint_too(tmp_path):
    network = build_network(DEFAULT_NETWORK, 3, (16, 16))
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    before = network.eval()(images)
    network.decide.observe(before.softmax(1), "miou", temperature=0.5)
    values = network.pixel_values(images)
    probabilities = (before / 0.5).softmax(1)
    gains, costs = (t.view(1, 3, 1, 1) for t in (network.decide.gains, network.decide.costs))
    torch.testing.assert_close(values, probabilities * gains - costs)
    names, palette = ["a", "b", "c"], [(0, 0, 0), (1, 1, 1), (2, 2, 2)]
    description = NetworkDescription(DEFAULT_NETWORK, (16, 16), tuple(names), tuple(palette))
    save_checkpoint(tmp_path, network, description)
    loaded, _ = load_checkpoint(tmp_path, torch.device("cpu"))
    torch.testing.assert_close(
        loaded.pixel_values(images), network.pixel_values(images), rtol=0, atol=0
    )
