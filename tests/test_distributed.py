"""Two processes with half of a batch each give what one gives on all of it."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from agents.advantages import synchronised_deviation
from agents.objectives import policy_gradient, relative_regression


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
            loss = policy_gradient(leaf.softmax(1), maps[:, None], scores[:, None], 0.1)
        (loss * len(maps)).backward()
        results.append(leaf.grad)
    return results[0], results[1]


def _worker(rank: int, file: str, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.save(_gradient(slice(0, 3) if rank == 0 else slice(3, 8)), f"{out}{rank}")
    dist.destroy_process_group()


def test_syncan_on_two_halves_is_syncan_on_the_whole(tmp_path):
    """Halves of unequal size and spread: each alone would measure in another deviation."""
    spawn(_worker, (str(tmp_path / "store"), str(tmp_path / "rank")), nprocs=2)
    halves = [torch.load(tmp_path / f"rank{rank}") for rank in range(2)]
    for whole, first, second in zip(_gradient(slice(0, 8)), *halves, strict=True):
        torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-5, atol=1e-7)
    alone = _gradient(slice(0, 3))
    assert not torch.allclose(alone[0], halves[0][0], rtol=1e-2)
