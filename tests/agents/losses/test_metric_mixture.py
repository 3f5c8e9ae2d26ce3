"""The formula of unknown scores: fitted to those that come, and differentiable."""

from __future__ import annotations

import pytest
import torch

from rss_agents.losses.metric_mixture import MetricMixture
from rss_agents.losses.score_model_config import MixtureConfig
from rss_agents.losses.score_models import metric_covariance, metric_prediction
from rss_env.action_maps import ActionMapGeometry
from rss_env.rewards import METRICS, score_counts

CLASSES, CELLS, GROUP = 4, 256, 6
OFFSETS = (0, CELLS)
GEOMETRY = ActionMapGeometry((1, CELLS), (1,), CLASSES)


def draw(probabilities, count, generator):
    """Maps (B, count, cells) whose cells follow probabilities (B, C, cells)."""
    rows = probabilities.transpose(1, 2).flatten(0, 1).float()
    drawn = torch.multinomial(rows, count, replacement=True, generator=generator)
    return drawn.view(len(probabilities), CELLS, count).transpose(1, 2).to(torch.uint8)


def counts(maps, chosen):
    """Cells of each class (B, K, C) where `chosen`."""
    classes = torch.arange(CLASSES).view(-1, 1, 1, 1)
    return ((maps == classes) & chosen).sum(-1).permute(1, 2, 0)


def observed_scores(maps, labels, formula):
    labels = labels.expand_as(maps)
    everywhere = torch.ones_like(maps, dtype=torch.bool)
    of_maps = [counts(maps, maps == labels), counts(maps, everywhere), counts(labels, everywhere)]
    return formula({name: score_counts(name, *of_maps) for name in METRICS})


def fit(formula, steps, seed=0, config=None, frequencies=(0.0, 0.0, 0.0, 0.0)):
    """A mixture that has seen scores of labels that follow the beliefs, and its last errors.

    Frequencies are the logits of the classes.
    """
    frequent = torch.tensor(frequencies)[:, None]
    generator = torch.Generator().manual_seed(seed)
    config = config or MixtureConfig(rate=0.05, first_weight=1.0)  # there are few scores
    mixture, errors = MetricMixture(1, config, "cpu"), []
    for _ in range(steps):
        sharpness = torch.rand(8, 1, 1, generator=generator) * 3
        logits = sharpness * torch.randn(8, CLASSES, CELLS, generator=generator)
        probabilities = (logits + frequent).softmax(1)
        labels = draw(probabilities, 1, generator)
        maps = draw(probabilities, GROUP, generator)
        scores = observed_scores(maps, labels, formula)[..., None]
        predicted = counts(maps, maps >= 0)[:, :, None].float()
        prediction = metric_prediction(
            probabilities, maps, predicted, OFFSETS, mixture.predict, presence_share=0.005
        )
        covariance = metric_covariance(probabilities, maps, prediction, GEOMETRY)
        errors.append((prediction.scores - scores)[..., 0])
        assert prediction.candidates is not None
        mixture.observe(prediction.candidates, scores, covariance)
    return mixture, torch.cat(errors[-20:])


FORMULAS = {
    "one metric": (lambda scores: scores["miou"], 1.0),
    "half of it": (lambda scores: 0.5 * scores["dice"], 1.0),
    "a square": (lambda scores: 0.8 * scores["dice"].square(), 2.0),
    "a root": (lambda scores: scores["miou"].sqrt(), 0.5),
    "a mixture": (lambda scores: (scores["mean_accuracy"] + scores["dice"]) / 2, 1.0),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_found(name):
    """Scores are predicted as well as if the formula were known, and its warp is recognised."""
    formula, power = FORMULAS[name]
    mixture, errors = fit(formula, 150)
    first = fit(formula, 1)[1]
    assert errors.mean().abs() < 0.005
    assert errors.std() < 0.04
    if name != "one metric":
        assert errors.square().mean() < 0.5 * first.square().mean()
    assert abs(float(mixture.numbers()["formula_power"]) / power - 1) < 0.3
    assert mixture.stars is None
    assert mixture.noise.sqrt() < 0.01


def test_differences_tell_which_metrics_count():
    """Half and half of two metrics is told apart from all others, though beliefs are vague."""

    def formula(scores):
        return (scores["mean_accuracy"] + scores["pixel_accuracy"]) / 2

    numbers = fit(formula, 150, frequencies=(2.0, 0.0, -1.0, -1.0))[0].numbers()
    assert numbers["formula_mean_accuracy"] + numbers["formula_pixel_accuracy"] > 0.8
    assert min(numbers["formula_mean_accuracy"], numbers["formula_pixel_accuracy"]) > 0.2


def test_a_size_is_one_at_most_and_the_rest_is_gain():
    """Beliefs that are too vague predict small differences, which is no news of the formula."""
    mixture = MetricMixture(1, MixtureConfig(), "cpu")
    generator = torch.Generator().manual_seed(5)
    covariance = 1e-4 * torch.eye(GROUP).expand(16, 1, GROUP, GROUP)
    for _ in range(100):
        candidates = 0.3 + 0.02 * torch.randn(16, GROUP, 1, len(METRICS), generator=generator)
        miou = candidates[..., list(METRICS).index("miou")]
        middle = miou.mean(1, keepdim=True)
        mixture.observe(candidates, middle + 2 * (miou - middle), covariance)
    numbers = mixture.numbers()
    assert numbers["formula_size"] == 1
    assert 1.8 < numbers["formula_gain"] < 2.2
    assert numbers["formula_miou"] > 0.95
    assert 0.8 < numbers["formula_power"] < 1.2


def test_ratings_that_prove_to_be_none_are_followed():
    """The first batch says nothing but 0 and 1; then come scores in between."""
    mixture = MetricMixture(1, MixtureConfig(first_weight=1.0), "cpu")
    generator = torch.Generator().manual_seed(6)
    covariance = 1e-4 * torch.eye(GROUP).expand(16, 1, GROUP, GROUP)
    for step in range(40):
        candidates = torch.rand(16, GROUP, 1, len(METRICS), generator=generator)
        dice = candidates[..., list(METRICS).index("dice")]
        mixture.observe(candidates, dice.round() if step == 0 else dice, covariance)
        assert mixture.stars == (1 if step == 0 else None)
    assert mixture.numbers()["formula_dice"] > 0.9


def test_noise_is_found():
    generator = torch.Generator().manual_seed(1)

    def formula(scores):
        return scores["miou"] + 0.1 * torch.randn(scores["miou"].shape, generator=generator)

    mixture, _ = fit(formula, 150)
    assert 0.07 < mixture.noise.sqrt() < 0.13


def test_ratings_are_recognised():
    mixture, errors = fit(lambda scores: (scores["miou"] * 5).round() / 5, 60)
    assert mixture.stars == 5
    assert errors.mean().abs() < 0.02
    mixture, _ = fit(lambda scores: torch.zeros_like(scores["miou"]), 3)
    assert mixture.stars == 1


def test_scores_are_differentiated_as_they_are_predicted():
    """The value is the warped mixture's; the slope is that of small changes of the beliefs."""
    mixture, _ = fit(lambda scores: scores["dice"].square(), 30)
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, CLASSES, CELLS, generator=generator, dtype=torch.float64)
    maps = draw(logits.softmax(1), GROUP, generator)
    predicted = counts(maps, maps >= 0)[:, :, None].double()

    def scores(logits):
        return metric_prediction(
            logits.softmax(1), maps, predicted, OFFSETS, mixture.predict, presence_share=0.005
        ).scores

    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(scores(logits).sum(), logits)
    direction = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        step = 1e-5
        ahead, behind = scores(logits + step * direction), scores(logits - step * direction)
        expected = (ahead - behind).sum() / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), expected, rtol=1e-4, atol=1e-7)


def test_a_mixture_goes_on_from_its_state():
    mixture, _ = fit(lambda scores: scores["dice"].square(), 5)
    other = MetricMixture(1, mixture.config, "cpu")
    other.set_state(mixture.get_state())
    generator = torch.Generator().manual_seed(4)
    candidates = torch.rand(3, GROUP, 1, len(METRICS), generator=generator)
    scores = torch.rand(3, GROUP, 1, generator=generator)
    covariance = 0.01 * torch.eye(GROUP).expand(3, 1, GROUP, GROUP)
    for one in (mixture, other):
        for _ in range(3):
            one.observe(candidates, scores, covariance)
    assert mixture.numbers() == other.numbers()
    assert mixture.noise.equal(other.noise)
