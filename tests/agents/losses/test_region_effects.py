"""What scores say of an image's regions, against effects that are known."""

from __future__ import annotations

import pytest
import torch

from rss_agents.losses.region_effects import RIDGES, RegionEffects
from rss_agents.losses.region_effects_config import RegionEffectsConfig
from rss_agents.replay.region_memory import ScoredRegions
from rss_env.action_maps import ActionMapGeometry
from rss_env.errors import InputError

GEOMETRY = ActionMapGeometry((6, 10), (2,), 3)  # 3 x 5 cells
ONE_EACH = RegionEffectsConfig(regions=16)


def regions_of(
    shares: torch.Tensor,
    scores: torch.Tensor,
    valid: torch.Tensor | None = None,
    counted: torch.Tensor | None = None,
) -> ScoredRegions:
    """Groups of shares (B, V, K, R * C) and scores (B, V, K), all there if nothing is said."""
    valid = torch.ones(scores.shape[:2], dtype=torch.bool) if valid is None else valid
    counted = torch.ones(scores.shape, dtype=torch.bool) if counted is None else counted
    return ScoredRegions(shares.half(), scores.float(), counted, valid)


def effects_of(config: RegionEffectsConfig = ONE_EACH, *, by_group: bool = False) -> RegionEffects:
    return RegionEffects(GEOMETRY, config, by_group=by_group, device="cpu")


def random_maps(*shape: int) -> torch.Tensor:
    return torch.randint(0, 3, (*shape, 15), dtype=torch.uint8)


def scored_maps(effects: RegionEffects, images: int, groups: int, size: int, worth: torch.Tensor):
    """Maps that score the mean of what their cells' classes are worth, (B, C, P)."""
    maps = random_maps(images, groups * size)
    scores = worth.gather(1, maps.long()).mean(2)
    shares = effects.shares(maps).unflatten(1, (groups, size))
    return shares, scores.unflatten(1, (groups, size))


def test_shares_of_regions():
    effects = effects_of(RegionEffectsConfig(regions=2))
    maps = torch.tensor([0, 0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 2, 2, 2, 0], dtype=torch.uint8)
    # Rows 0 and 1 are of the upper regions, columns 0 to 2 of the left ones.
    expected = [
        [[5 / 6, 0, 1 / 6], [0, 1, 0]],
        [[0, 0, 1], [0.5, 0, 0.5]],
    ]
    assert effects.num_shares == 12
    found = effects.shares(maps.expand(1, 2, -1))
    torch.testing.assert_close(found, torch.tensor(expected).flatten().expand(1, 2, -1))


@pytest.mark.parametrize("by_group", [False, True])
def test_predictions_and_effects_are_those_of_a_plain_regression(by_group):
    """The best ridge leaves least when each score is left out of a regression in turn."""
    torch.manual_seed(0)
    effects = effects_of(by_group=by_group)
    worth = torch.randn(2, 3, 15, dtype=torch.float64)
    shares, scores = scored_maps(effects, 2, 3, 12, worth)
    scores = scores + 0.05 * torch.randn(scores.shape)
    valid = torch.tensor([[True, True, True], [True, True, False]])
    counted = torch.ones(2, 3, 12, dtype=torch.bool)
    counted[:, 0, 2:] = False
    effects.observe(regions_of(shares, scores, valid, counted))
    surprises, wrong, alone, reference = [], [], [], []
    for ridge in RIDGES:
        residuals, variances = [], []
        for b in range(2):
            there = valid[b].repeat_interleave(12)
            own, known = scores[b].flatten()[there].double(), shares[b].flatten(0, 1)[there]
            group = torch.arange(3).repeat_interleave(12)[there] if by_group else None
            asked = counted[b].flatten()[there]
            for m in range(len(own)):
                others = torch.arange(len(own)) != m
                mean, variance, _ = predicted(known, own, group, ridge, others, m)
                if asked[m]:
                    residuals.append(own[m] - mean)
                    variances.append(variance)
                    if ridge == RIDGES[0]:
                        alike = others if group is None else others & (group == group[m])
                        alone.append(own[m] - own[alike].mean())
        residuals, variances = torch.stack(residuals), torch.stack(variances)
        surprises.append((residuals.square() / variances).mean().log() + variances.log().mean())
        wrong.append(residuals.square().mean())
    best = int(torch.stack(surprises).argmin())
    assert 0 < best < len(RIDGES) - 1
    assert effects.ridge == pytest.approx(RIDGES[best])
    explained = 1 - wrong[best] / torch.stack(alone).square().mean()
    assert explained > 0.2
    torch.testing.assert_close(effects.explained, explained, rtol=2e-3, atol=0)
    for b in range(2):
        there = valid[b].repeat_interleave(12)
        group = torch.arange(3).repeat_interleave(12)[there] if by_group else None
        own, known = scores[b].flatten()[there].double(), shares[b].flatten(0, 1)[there]
        everything = torch.ones(len(own), dtype=torch.bool)
        reference.append(predicted(known, own, group, RIDGES[best], everything, 0)[2])
    found = effects(regions_of(shares, scores, valid, counted))
    expected = torch.stack(reference).view(2, 15, 3).mT
    reach = (expected.amax(1) - expected.amin(1)).square().mean().sqrt()
    expected = expected / reach * effects.explained.sqrt()
    torch.testing.assert_close(found, expected.float(), rtol=2e-3, atol=2e-3)


def predicted(shares, scores, group, ridge, known, asked):
    """Mean and variance of one score given some, under effects and offsets; the effects' means."""
    shares = shares.double()
    group = torch.zeros(len(scores), dtype=torch.long) if group is None else group
    one_hot = torch.nn.functional.one_hot(group, 3).double()
    design = torch.cat([shares / 15**0.5, one_hot * 1e3**0.5], 1)
    # What comparable maps have in common is no effect: all maps are centred, the one that is asked
    # as well.
    same = (group[:, None] == group).double()
    centre = torch.eye(len(scores), dtype=torch.float64) - same / same.sum(1, keepdim=True)
    design = torch.cat([centre @ design[:, : shares.shape[1]], design[:, shares.shape[1] :]], 1)
    own = centre @ scores
    covariance = design @ design.T + ridge * torch.eye(len(scores), dtype=torch.float64)
    weights = torch.linalg.solve(covariance[known][:, known], covariance[known, asked])
    variance = covariance[asked, asked] - weights @ covariance[known, asked]
    mean = weights @ own[known] + scores[asked] - own[asked]
    solved = torch.linalg.solve(covariance[known][:, known], own[known])
    return mean, variance, (centre[known].T @ solved) @ shares


@pytest.mark.parametrize("by_group", [False, True])
def test_what_classes_add_is_told_region_by_region(by_group):
    torch.manual_seed(0)
    effects = effects_of(by_group=by_group)
    worth = torch.randn(4, 3, 15)
    shares, scores = scored_maps(effects, 4, 20, 8, worth)
    if by_group:
        scores = scores + 5 * torch.randn(4, 20, 1)  # which says nothing
    scored = regions_of(shares, scores)
    effects.observe(scored)
    found = effects(scored)
    assert effects.explained > 0.95
    centred = worth - worth.mean(1, keepdim=True)
    reach = (worth.amax(1) - worth.amin(1)).square().mean().sqrt()
    torch.testing.assert_close(found, centred / reach, rtol=0, atol=0.1)


def test_scores_that_tell_nothing_have_small_effects():
    torch.manual_seed(0)
    effects = effects_of()
    batches = [
        regions_of(effects.shares(random_maps(4, 24)).unflatten(1, (3, 8)), torch.randn(4, 3, 8))
        for _ in range(10)
    ]
    for scored in batches:
        effects.observe(scored)
    assert effects.explained < 0.1
    assert max(effects(scored).abs().max() for scored in batches) < 0.5


def test_the_same_score_for_all_changes_nothing():
    torch.manual_seed(0)
    effects = effects_of()
    shares, scores = scored_maps(effects, 2, 2, 4, torch.randn(2, 3, 15))
    flat = regions_of(shares, torch.full_like(scores, 0.5))
    effects.observe(flat)
    assert effects.explained == 0
    assert (effects(flat) == 0).all()
    effects.observe(regions_of(shares, scores))
    before = {name: value.clone() for name, value in effects.get_state().items()}
    effects.observe(flat)
    assert all(value.equal(before[name]) for name, value in effects.get_state().items())


def test_an_image_of_two_maps_or_none_tells_nothing():
    torch.manual_seed(0)
    effects = effects_of()
    shares, scores = scored_maps(effects, 2, 1, 2, torch.randn(2, 3, 15))
    scored = regions_of(shares, scores, torch.tensor([[True], [False]]))
    effects.observe(scored)
    assert effects.explained == 0
    assert (effects(scored) == 0).all()


def test_a_state_is_gone_on_from():
    torch.manual_seed(0)
    effects, other = effects_of(), effects_of()
    shares, scores = scored_maps(effects, 2, 2, 8, torch.randn(2, 3, 15))
    scored = regions_of(shares, scores)
    effects.observe(scored)
    other.set_state(effects.get_state())
    assert other(scored).equal(effects(scored))
    effects.observe(scored)
    other.observe(scored)
    assert other(scored).equal(effects(scored))


def test_options_that_tell_nothing_are_refused():
    for options, message in {
        RegionEffectsConfig(regions=0): "effects regions",
        RegionEffectsConfig(weight=0.0): "effects weight must be positive, got 0",
        RegionEffectsConfig(proposed=(1.0, -1.0)): "effects proposed must be positive",
    }.items():
        with pytest.raises(InputError, match=message):
            options.check()
