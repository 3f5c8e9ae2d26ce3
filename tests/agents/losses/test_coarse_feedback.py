"""What an order or a number of stars says of exact scores."""

from __future__ import annotations

import pytest
import torch

from rss_agents.losses.coarse_feedback import scores_from_order, scores_from_ratings


def test_scores_from_order_keep_the_order_and_the_spread():
    predicted = torch.randn(2, 3, 8, dtype=torch.float64) * 0.1
    ranks = torch.stack([torch.randperm(8) for _ in range(6)]).view(2, 3, 8) / 7
    variances = torch.full((2, 3), 0.03, dtype=torch.float64)
    scores, left_open = scores_from_order(ranks.double(), predicted, variances)
    torch.testing.assert_close(scores.argsort(2), ranks.argsort(2))
    torch.testing.assert_close(scores.mean(2), torch.zeros(2, 3, dtype=torch.float64))
    spread_and_rest = scores.square().mean(2) + left_open
    torch.testing.assert_close(spread_and_rest, predicted.var(2) + variances)
    # Against the best of 8 drawn from a normal distribution, known to be 1.4236 on average.
    spread = (predicted.var(2) + variances).sqrt()
    torch.testing.assert_close(
        scores.amax(2) / spread, torch.full((2, 3), 1.4236, dtype=torch.float64), atol=0.015, rtol=0
    )


def test_an_order_with_ties_says_less():
    predicted = torch.randn(1, 3, 4, dtype=torch.float64) * 0.1
    stars = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.2, 0.4, 0.4, 0.2], [0.0, 0.2, 0.4, 0.6]]])
    scores, left_open = scores_from_order(stars, predicted, torch.full((1, 3), 0.01).double())
    assert (scores[0, 0] == 0).all()
    torch.testing.assert_close(left_open[0, 0], predicted[0, 0].var() + 0.01)
    assert scores[0, 1, 0] == scores[0, 1, 3] == pytest.approx(-float(scores[0, 1, 1]))
    share = left_open / (predicted.var(2) + 0.01)
    assert share[0, 0] > share[0, 1] > share[0, 2] > 0


@pytest.mark.parametrize(
    ("mean", "deviation", "rating"),
    [(0.25, 0.1, 0.2), (0.05, 0.2, 0.6), (0.45, 0.05, 0.2), (0.02, 0.3, 0.0), (0.9, 0.2, 1.0)],
)
def test_a_rating_leaves_the_belief_of_the_truncated_normal(mean, deviation, rating):
    """Against 4 million draws; the lowest and the highest rating have no outer end."""
    draws = torch.randn(4_000_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    draws = draws * deviation + mean
    low = -1e9 if rating == 0 else rating - 0.1
    high = 1e9 if rating == 1 else rating + 0.1
    kept = draws[(draws > low) & (draws < high)]
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    prior = deviation**2
    score, noise = scores_from_ratings(rating * one, 5, mean * one, prior * one)
    gain = prior / (prior + float(noise))
    assert mean + gain * (float(score) - mean) == pytest.approx(float(kept.mean()), abs=2e-3)
    assert prior * (1 - gain) == pytest.approx(float(kept.var()), rel=0.03)


def test_a_rating_that_was_expected_says_nothing():
    one = torch.ones(1, 1, 1)
    _, noise = scores_from_ratings(0.4 * one, 5, 0.41 * one, 1e-4 * one)
    assert float(noise) > 100 * 1e-4


def test_ratings_that_no_belief_expects_stay_finite():
    ratings = torch.tensor([0.0, 0.2, 0.6, 1.0]).view(1, 1, 4)
    for mean in (0.0, 0.5, 1.0):
        predicted = torch.full_like(ratings, mean)
        score, noise = scores_from_ratings(ratings, 5, predicted, torch.full_like(ratings, 1e-6))
        assert score.isfinite().all()
        assert noise.isfinite().all()
        assert (noise > 0).all()
        low, high = ratings - 0.1, ratings + 0.1
        expected = (predicted > low) & (predicted < high)
        inside = (score > low - 0.01) & (score < high + 0.01)
        open_end = (ratings == 0) | (ratings == 1)
        assert (expected | inside | open_end).all()
