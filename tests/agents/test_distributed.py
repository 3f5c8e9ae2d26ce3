"""Two processes with half of a batch each give what one gives on all of it."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from loss_problems import policy_gradient_loss
from rss_agents.losses.advantages import synchronised_deviation
from rss_agents.losses.metric_regression import whitened_regression
from rss_agents.losses.region_effects import RegionEffects
from rss_agents.losses.region_effects_config import RegionEffectsConfig
from rss_agents.losses.regression import relative_regression
from rss_agents.replay.region_memory import ScoredRegions
from rss_env.action_maps import ActionMapGeometry


def _batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, 20, generator=generator)
    maps = torch.randint(0, 3, (8, 4, 20), generator=generator).to(torch.uint8)
    scores = torch.rand(8, 4, generator=generator) * torch.linspace(0.1, 1, 8)[:, None]
    return logits, maps, scores


def _gradient(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients on the logits of some images: of both objectives, summed over the images."""
    logits, maps, scores = (part[rows] for part in _batch())
    results = []
    for regresses in (True, False):
        leaf = logits.clone().requires_grad_()
        if regresses:
            predicted = leaf.gather(1, maps.long()).mean(2)
            deviation = synchronised_deviation(scores - scores.mean(1, keepdim=True))
            loss = relative_regression(predicted[:, None], scores[:, None], deviation)
        else:
            loss = policy_gradient_loss(leaf.softmax(1), maps[:, None], scores[:, None], 0.1)
        (loss * len(maps)).backward()
        results.append(leaf.grad)
    return results[0], results[1]


def _gradients_with_memory(rows: slice) -> list[torch.Tensor]:
    """Gradients on the logits of some images that have up to three groups of maps each."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(8, 3, 20, generator=generator, dtype=torch.float64)
    maps = torch.randint(0, 3, (8, 3, 4, 20), generator=generator).to(torch.uint8)
    valid = torch.arange(3) < torch.tensor([1, 1, 2, 1, 3, 3, 2, 3])[:, None]
    scores = torch.rand(8, 3, 4, generator=generator).double() * valid[..., None]
    logits, maps, scores, valid = (part[rows] for part in (logits, maps, scores, valid))
    gradients = []
    for objective in range(3):
        leaf = logits.clone().requires_grad_()
        predicted = leaf.gather(1, maps.flatten(1, 2).long()).mean(2).view(scores.shape)
        if objective == 0:
            loss = relative_regression(predicted, scores, scores.new_ones(()), valid=valid)
        elif objective == 1:
            covariance = torch.eye(12, dtype=torch.float64).expand(len(leaf), 12, 12)
            noise = torch.ones_like(scores)
            loss = whitened_regression(predicted, scores, covariance, noise, valid=valid)
        else:
            loss = policy_gradient_loss(leaf.softmax(1), maps, scores, 0.1, valid=valid)
        loss.backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    return gradients


def _effects(rows: slice) -> torch.Tensor:
    """Effects of regions in eight images that are told of half of them more than of the others."""
    generator = torch.Generator().manual_seed(2)
    effects = RegionEffects(
        ActionMapGeometry((4, 5), (1,), 3), RegionEffectsConfig(), by_group=False, device="cpu"
    )
    maps = torch.randint(0, 3, (8, 8, 20), generator=generator).to(torch.uint8)
    worth = torch.randn(8, 3, 20, generator=generator)
    valid = torch.arange(2) < torch.tensor([1, 1, 1, 1, 2, 2, 2, 2])[:, None]
    scores = worth.gather(1, maps.long()).mean(2) * torch.linspace(0.1, 1, 8)[:, None]
    counted = torch.rand(8, 2, 4, generator=generator) < 0.7
    parts = (effects.shares(maps).unflatten(1, (2, 4)), scores.unflatten(1, (2, 4)), counted, valid)
    for _ in range(2):
        effects.observe(ScoredRegions(*(part[rows] for part in parts)))
    return effects(ScoredRegions(*parts))


def _worker(rank: int, file: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.save(_gradient(slice(0, 3) if rank == 0 else slice(3, 8)), f"{out}{rank}")
    torch.save(_gradients_with_memory(slice(4 * rank, 4 * rank + 4)), f"{out}{rank}-memory")
    torch.save(_effects(slice(4 * rank, 4 * rank + 4)), f"{out}{rank}-effects")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    spawn(_worker, (str(folder / "store"), str(folder / "rank")), nprocs=2)
    return folder


def test_syncan_on_two_halves_is_syncan_on_the_whole(folder):
    """Halves of unequal size and spread: each alone would measure in another deviation."""
    halves = [torch.load(folder / f"rank{rank}") for rank in range(2)]
    for whole, first, second in zip(_gradient(slice(0, 8)), *halves, strict=True):
        torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-5, atol=1e-7)
    alone = _gradient(slice(0, 3))
    assert not torch.allclose(alone[0], halves[0][0], rtol=1e-2)


def test_ranks_that_remember_unequally_average_to_the_whole(folder):
    """Five groups of maps against eleven: each rank by itself would weigh its own alike."""
    halves = [torch.load(folder / f"rank{rank}-memory") for rank in range(2)]
    for whole, first, second in zip(_gradients_with_memory(slice(0, 8)), *halves, strict=True):
        mean = torch.cat([first, second]) / 2
        torch.testing.assert_close(mean, whole, rtol=1e-6, atol=1e-9)
    alone = _gradients_with_memory(slice(0, 4))
    for one, half in zip(alone, halves[0], strict=True):
        assert not torch.allclose(one, half, rtol=0.1)


def test_effects_of_regions_are_the_same_on_all_ranks(folder):
    """Units and noise are told by the scores of all."""
    whole, alone = _effects(slice(0, 8)), _effects(slice(0, 4))
    for rank in range(2):
        torch.testing.assert_close(torch.load(folder / f"rank{rank}-effects"), whole)
    assert not torch.allclose(alone, whole, rtol=0.1)
