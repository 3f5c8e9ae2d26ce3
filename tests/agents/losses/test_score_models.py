"""The metric model: its scores, their covariance, and the values of classes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from beliefs import covariance_of, predict, predicted_scores
from rss_agents.losses.score_model_config import MetricModelConfig
from rss_agents.losses.score_models import (
    MetricPrediction,
    cell_uncertainty,
    class_values,
    metric_covariance,
    sample_cells,
)
from rss_agents.random_draws import RandomDraws
from rss_env.action_maps import ActionMapGeometry
from rss_env.rewards import METRICS, score_counts


@pytest.mark.parametrize("metric", METRICS)
def test_metric_prediction_is_the_metric_when_labels_are_certain(metric):
    """With every class in label and map, certain probabilities give the environment's score."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (2, 400), generator=generator)
    maps = torch.randint(0, 3, (2, 4, 400), generator=generator).to(torch.uint8)
    certain = torch.nn.functional.one_hot(labels, 3).transpose(1, 2).double()
    predicted = predicted_scores(certain, maps, metric)
    for b, k in itertools.product(range(2), range(4)):
        chosen = [maps[b, k] == c for c in range(3)]
        true = [labels[b] == c for c in range(3)]
        right = torch.stack([(p & t).sum() for p, t in zip(chosen, true, strict=True)])
        counts = [torch.stack([mask.sum() for mask in masks]) for masks in (chosen, true)]
        expected = score_counts(metric, right, *counts).double()
        # The chance that a class occurs is 0.985 for a third of the image, not quite 1.
        torch.testing.assert_close(predicted[b, k], expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_metric_prediction_has_a_finite_gradient(metric):
    logits = torch.randn(2, 4, 30, dtype=torch.float64, requires_grad=True)
    maps = torch.randint(0, 2, (2, 3, 30), dtype=torch.uint8)  # two classes are in no map
    assert torch.autograd.gradcheck(
        lambda x: predicted_scores(x.softmax(1), maps, metric), (logits,)
    )
    logits = (logits * 1e3).detach().requires_grad_()
    predicted_scores(logits.softmax(1), maps, metric).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def most(cells):
    return MetricModelConfig(covariance_cells=cells)


def test_values_under_miou_by_hand():
    right, share = torch.tensor([0.45, 0.1]), torch.tensor([0.6, 0.4])
    gains, costs = class_values(right, share, "miou", 0.005)
    union = torch.tensor([0.6 + 0.6 - 0.45, 0.4 + 0.4 - 0.1])
    presence = share / (share + 0.005)
    overlap = right / union
    torch.testing.assert_close(gains, presence * (1 + overlap) / union)
    torch.testing.assert_close(costs, presence * overlap / union)


@pytest.mark.parametrize("metric", METRICS)
def test_covariance_is_that_of_the_metric_on_sampled_labels(metric):
    """To first order: on 600 cells it is within a tenth of what sampled labels give."""
    generator = torch.Generator().manual_seed(3)
    probabilities = torch.randn(1, 3, 600, generator=generator).mul(1.5).softmax(1)
    maps = torch.randint(0, 3, (1, 4, 600), generator=generator).to(torch.uint8)
    found = covariance_of(probabilities, maps, metric)[0]
    draws = torch.multinomial(probabilities[0].T, 4000, replacement=True, generator=generator).T
    true = torch.stack([(draws == c) for c in range(3)], -1)  # (draws, P, C)
    chosen = torch.stack([(maps[0] == c) for c in range(3)], -1)  # (K, P, C)
    right = torch.einsum("dpc,kpc->dkc", true.float(), chosen.float())
    predicted = chosen.sum(1)[None].expand_as(right)
    labelled = true.sum(1)[:, None].expand_as(right)
    scores = score_counts(metric, right, predicted, labelled).double()
    sampled = torch.cov(scores.T).float()
    assert (found - sampled).abs().max() < 0.1 * sampled.diagonal().mean()


def test_every_pair_of_variances_is_positive():
    probabilities = torch.rand(3, 4, 50).softmax(1)
    maps = torch.randint(0, 4, (3, 5, 50), dtype=torch.uint8)
    for metric, b in itertools.product(METRICS, range(3)):
        covariance = covariance_of(probabilities, maps, metric)
        assert torch.linalg.eigvalsh(covariance[b].double()).min() > -1e-7


@pytest.mark.parametrize("certain", [0.0, 0.9])
def test_a_sample_of_the_cells_stands_for_all_of_them(certain):
    """Over many samples the mean is the covariance; one sample of a quarter is near it."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(1, 3, 1024, generator=generator)
    certain_cells = torch.rand(1024, generator=generator) < certain
    probabilities = torch.where(certain_cells, 20 * logits, logits).softmax(1)
    maps = torch.randint(0, 3, (1, 4, 1024), generator=generator).to(torch.uint8)
    whole = covariance_of(probabilities, maps, "miou")
    prediction = predict(probabilities, maps, "miou")
    importance = cell_uncertainty(probabilities, prediction, (0, 1024))
    samples = torch.stack(
        [
            covariance_of(
                probabilities,
                maps,
                "miou",
                sample_cells(importance, (0, 1024), RandomDraws(generator), most(256)),
            )
            for _ in range(200)
        ]
    )
    scale = float(whole.diagonal(dim1=1, dim2=2).mean())
    assert (samples.mean(0) - whole).abs().max() < 0.01 * scale
    assert (samples - whole).abs().mean() < 0.05 * scale


def test_uncertain_cells_are_drawn_most_and_small_scales_whole():
    importance = torch.cat([torch.ones(2, 9), torch.zeros(2, 90), 4 * torch.ones(2, 10)], 1)
    sample = sample_cells(
        importance,
        (0, 9, 109),
        RandomDraws(torch.Generator().manual_seed(0)),
        most(40),
    )
    assert sample.offsets == (0, 9, 49)
    assert sample.cells.shape == sample.counts.shape == (2, 49)
    assert sample.cells[:, :9].tolist() == [list(range(9))] * 2
    assert (sample.counts[:, :9] == 1).all()
    drawn, counts = sample.cells[:, 9:], sample.counts[:, 9:]
    assert int(drawn.min()) >= 9
    assert int(drawn.max()) < 109
    important = drawn >= 99
    # A tenth of the draws goes to all cells alike, and a tenth of these to the important ones.
    assert (important.sum(1) - 0.91 * 40).abs().max() <= 1
    torch.testing.assert_close(counts[important], torch.full_like(counts[important], 10 / 36.4))
    torch.testing.assert_close(counts[~important], torch.full_like(counts[~important], 25.0))


def test_cells_of_no_importance_at_all_are_drawn_alike():
    sample = sample_cells(
        torch.zeros(1, 100),
        (0, 100),
        RandomDraws(torch.Generator().manual_seed(0)),
        most(20),
    )
    torch.testing.assert_close(sample.counts, torch.full((1, 20), 5.0))
    assert sample.cells[0].diff().tolist() == [5] * 19


def test_errors_of_regions_by_the_chain_rule():
    """What the logits of a region, and of the image, have in common moves scores together."""
    geometry, regions = ActionMapGeometry((6, 4), (2, 1), 3), 2
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, geometry.num_cells, generator=generator, dtype=torch.float64)
    maps = torch.randint(0, 3, (2, 5, geometry.num_cells), generator=generator).to(torch.uint8)
    shape = (2, 5, 2, 3)
    hits, others = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    prediction = MetricPrediction(torch.zeros(shape[:3]), hits, others)
    model = MetricModelConfig(regions=regions, region_error=0.7)

    def covariance(of_regions):
        return metric_covariance(logits.softmax(1), maps, prediction, geometry, regions=of_regions)

    found = covariance(model) - covariance(None)
    parts = zip(geometry.split(logits), geometry.split(maps), geometry.grids, strict=True)
    for s, (of_scale, own, grid) in enumerate(parts):
        sides = [math.gcd(regions, side) for side in grid]
        rows, columns = (
            torch.arange(side) // (side // count) for side, count in zip(grid, sides, strict=True)
        )
        place = (rows[:, None] * sides[1] + columns).flatten()

        def scores(of_region, of_scale=of_scale, own=own, place=place, s=s):
            chances = (of_scale + of_region[:, :, place]).softmax(1)
            right = hits[:, :, s].gather(2, own.long()) * chances.gather(1, own.long())
            return (right + others[:, :, s] @ chances).sum(2)

        none = torch.zeros(2, 3, sides[0] * sides[1], dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(scores, none)
        assert isinstance(jacobian, torch.Tensor)
        slopes = torch.stack([jacobian[b, :, b] for b in range(2)])  # (B, K, C, R)
        of_image = slopes.sum(3)
        slopes = slopes.flatten(2)
        expected = slopes @ slopes.mT + of_image @ of_image.mT
        torch.testing.assert_close(found[:, s], expected * model.region_error**2)
