"""What differences between scores prove."""

from __future__ import annotations

import pytest
import torch

from rss_agents.algorithms.score_evidence import ScoreEvidence, changed_share

CELLS = 400


def scored(count: int, noise: float, *, generator: torch.Generator):
    """Answers (N, P), maps (N, 4, P) that vary them, scores of both: the share of class 1.

    Cells that are varied have class 1 with probability 0.3, answers in half of their cells.
    """
    answers = (torch.rand(count, CELLS, generator=generator) < 0.5).to(torch.uint8)
    others = (torch.rand(count, 4, CELLS, generator=generator) < 0.3).to(torch.uint8)
    share = 0.4 * torch.rand(count, 4, 1, generator=generator)
    varies = torch.rand(count, 4, CELLS, generator=generator) < share
    maps = torch.where(varies, others, answers[:, None])

    def score(maps: torch.Tensor) -> torch.Tensor:
        told = maps.double().mean(-1)
        return told + noise * torch.randn(told.shape, dtype=told.dtype, generator=generator)

    return answers, maps, score(answers), score(maps)


def taught(noise: float) -> ScoreEvidence:
    """What 4,000 scores say."""
    evidence = ScoreEvidence("cpu")
    answers, maps, base, scores = scored(1000, noise, generator=torch.Generator().manual_seed(0))
    varied = changed_share(maps, answers[:, None])
    evidence.observe_variations(varied, scores - base[:, None])
    evidence.observe_pairs(maps, scores, varied)
    return evidence


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_noise_is_found(noise):
    evidence = taught(noise)
    variance, slope = evidence.variances
    assert float(variance) == pytest.approx(2 * noise**2, rel=0.25, abs=1e-5)
    # Half of the cells that differ have class 1 in the one map, half in the other.
    if noise < 0.1:
        assert float(slope) == pytest.approx(1 / CELLS, rel=0.3)
    # A cell that is changed has lost class 1 in (0.5 * 0.7) / (0.5 * 0.7 + 0.5 * 0.3) of cases.
    assert float(evidence.loss) == pytest.approx(0.4, rel=0.15)


def test_exact_scores_are_believed():
    share, difference = torch.tensor([[0.1, 0.1]]), torch.tensor([[0.01, -0.02]])
    gains = taught(0.0).expected_gains(share.double(), difference.double())
    assert gains[0].tolist() == pytest.approx([0.01, -0.02], abs=3e-3)


def test_noisy_scores_move_what_is_expected_a_little():
    evidence = taught(0.02)
    share = torch.full((1, 2), 0.1, dtype=torch.float64)
    lucky = evidence.expected_gains(share, torch.tensor([[0.05, -0.05]], dtype=torch.float64))
    assert (lucky < 0).all()  # a tenth of the cells, varied at random, is not worth 0.05
    assert lucky[0, 0] > lucky[0, 1]


def test_expected_gains_are_right_on_average():
    """Of maps by their expected gain in tenths, the mean true gain is what was expected."""
    evidence, noise = taught(0.02), 0.02
    generator = torch.Generator().manual_seed(1)
    answers, maps, _, _ = scored(4000, 0.0, generator=generator)
    share = changed_share(maps, answers[:, None])
    true = maps.double().mean(-1) - answers.double().mean(-1)[:, None]
    told = true + noise * 2**0.5 * torch.randn(true.shape, dtype=true.dtype, generator=generator)
    gains = evidence.expected_gains(share, told)
    order = gains.flatten().argsort()
    means = [part.flatten()[order].view(10, -1).mean(1) for part in (gains, true)]
    assert means[0].sub(means[1]).abs().max() < 0.006
    assert means[1][-1] - means[1][0] > 0.05


def test_nothing_is_believed_before_anything_is_known():
    gains = ScoreEvidence("cpu").expected_gains(torch.ones(1, 2), torch.tensor([[0.5, -0.5]]))
    assert gains.tolist() == [[0, 0]]


def test_a_scorer_of_one_score_has_no_noise():
    evidence = ScoreEvidence("cpu")
    _, maps, _, scores = scored(8, 0.0, generator=torch.Generator().manual_seed(0))
    evidence.observe_pairs(maps, torch.zeros_like(scores), scores)
    assert [float(value) for value in evidence.variances] == [0, 0]
    evidence.observe_pairs(maps[:1, :1], scores[:1, :1], scores[:1, :1])  # no pair
    evidence.observe_pairs(maps[:, :1].repeat(1, 2, 1), scores[:, :2], scores[:, :2])  # the same
    assert [float(value) for value in evidence.variances] == [0, 0]


def test_it_goes_on_from_a_state():
    evidence, other = taught(0.1), ScoreEvidence("cpu")
    other.set_state(evidence.get_state())
    share = torch.full((1, 2), 0.3, dtype=torch.float64)
    told = torch.tensor([[0.1, -0.1]], dtype=torch.float64)
    assert other.expected_gains(share, told).equal(evidence.expected_gains(share, told))
