"""Maps drawn from a policy: their distribution, alone and within a group."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from rss_agents.algorithms.sampling import _stretch, sample_maps, sample_varied_maps
from rss_agents.algorithms.varied_maps_config import VariedMapsConfig
from rss_agents.random_draws import RandomDraws

MOST = VariedMapsConfig().most_regions


def test_samples_follow_their_probabilities():
    probabilities = torch.tensor([[[0.7, 0.0], [0.1, 0.0], [0.2, 1.0]]])
    draws = RandomDraws(torch.Generator().manual_seed(0))
    maps = sample_maps(probabilities, 20_000, draws)
    assert maps.shape == (1, 20_000, 2)
    assert maps.dtype == torch.uint8
    share = torch.bincount(maps[0, :, 0].long(), minlength=3) / 20_000
    torch.testing.assert_close(share, torch.tensor([0.7, 0.1, 0.2]), atol=0.01, rtol=0)
    assert (maps[0, :, 1] == 2).all()


@pytest.mark.parametrize("members", [2, 5, 8])
def test_stratified_maps_share_out_the_classes_of_a_cell(members):
    draws = RandomDraws(torch.Generator().manual_seed(0))
    probabilities = torch.rand(3, 4, 500).softmax(1)
    maps = sample_maps(probabilities, members, draws, stratified=True)
    drawn = F.one_hot(maps.long(), 4).sum(1).transpose(1, 2)
    assert ((drawn - members * probabilities).abs() < 2).all()


def test_every_stratified_map_follows_the_probabilities_cell_by_cell():
    draws = RandomDraws(torch.Generator().manual_seed(0))
    probabilities = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1).expand(1, 3, 40_000)
    maps = sample_maps(probabilities.contiguous(), 4, draws, stratified=True)
    for single in maps[0]:
        share = torch.bincount(single.long(), minlength=3) / 40_000
        torch.testing.assert_close(share, torch.tensor([0.5, 0.3, 0.2]), atol=0.01, rtol=0)
        neighbours = (single[1:] == single[:-1]).float().mean()  # independent: 0.25 + 0.09 + 0.04
        assert neighbours.item() == pytest.approx(0.38, abs=0.01)


def test_stratified_maps_differ_more_than_independent_ones():
    probabilities = torch.tensor([0.5, 0.5]).view(1, 2, 1).expand(1, 2, 10_000).contiguous()
    alike = []
    for stratified in (True, False):
        draws = RandomDraws(torch.Generator().manual_seed(0))
        maps = sample_maps(probabilities, 8, draws, stratified=stratified)[0]
        alike.append((maps[:1] == maps[1:]).float().mean().item())
    assert alike[0] == pytest.approx(3 / 7, abs=0.01)  # 4 of 8 maps have the class of any map
    assert alike[1] == pytest.approx(1 / 2, abs=0.01)


@pytest.mark.parametrize("size", [1, 3, 16])
@pytest.mark.parametrize("count", range(1, MOST + 1))
def test_noise_of_regions_is_interpolated_as_pytorch_does(count, size):
    values = torch.randn(MOST, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        values[None, None, :count], size, mode="linear", align_corners=False
    )
    torch.testing.assert_close(_stretch(torch.tensor(count), MOST, size) @ values, expected[0, 0])


def test_varied_maps_differ_in_regions():
    """Next to one another cells are alike, more than where each is drawn by itself."""
    draws = RandomDraws(torch.Generator().manual_seed(0))
    policy = torch.full((4, 5, 12 * 16), 0.2)
    maps = sample_varied_maps(policy, 6, (12, 16), draws, VariedMapsConfig())
    assert maps.shape == (4, 6, 12 * 16)
    assert maps.dtype == torch.uint8
    assert int(maps.max()) == 4
    picture = maps.unflatten(2, (12, 16))
    alike = (picture[..., 1:] == picture[..., :-1]).float().mean()
    assert alike > 0.8
    assert len({tuple(m.tolist()) for m in maps.flatten(0, 1)}) > 12
    sure = torch.full((1, 3, 30), 1e-6)
    sure[:, 1] = 1 - 2e-6
    assert (
        sample_varied_maps(sure, 4, (5, 6), draws, VariedMapsConfig()) == 1
    ).float().mean() > 0.7
