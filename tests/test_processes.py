"""Two processes learn what one process learns of the joint batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from agents.baselines import BaselineConfig
from agents.command_line import DataConfig
from agents.rss import RSSConfig
from agents.train_config import TrainConfig
from agents.training_run import open_run

COMMON = TrainConfig(
    Path("nowhere"), network="tiny-unet-group", image_size=(32,), scales=(8, 2, 1), num_images=4,
    group_size=4, updates=5,
)  # fmt: skip
# Scores are not remembered: an image that comes back in another process is new there. (At pixel
# level they always are; none of the 20 images drawn here comes back.)
FORGETFUL = RSSConfig(replay=0)
ZOOMED = replace(COMMON, zoom=(0.5, 2.0))  # void at the edges: pixels do not count alike everywhere
RUNS = {
    "psl": replace(ZOOMED, algo="psl"),
    "psl-multiscale": replace(ZOOMED, algo="psl-multiscale"),
    "psl-metric": replace(COMMON, algo="psl-metric"),
    "wsss-cam": replace(COMMON, algo="wsss-cam"),
    "regression": replace(COMMON, agent=FORGETFUL),
    "linear": replace(COMMON, agent=replace(FORGETFUL, score_model="linear", temperature=1.0)),
    "noise": replace(COMMON, agent=FORGETFUL, feedback="noisy:0.05"),  # and varied maps
    "pixel level": replace(COMMON, data=DataConfig("RSS/Shapes-PixelReward-v0")),
    "policy gradient": replace(COMMON, agent=replace(FORGETFUL, objective="policy_gradient")),
    "reinforce": replace(COMMON, algo="reinforce"),
    "ppo": replace(COMMON, algo="ppo", baseline=BaselineConfig(epochs=2)),
}


def _learn_all() -> dict[str, dict[str, torch.Tensor]]:
    """What each run has learned after five updates."""
    learned, kept = {}, []
    for name, config in RUNS.items():
        run = open_run(config)
        kept.append(run)  # so that runs share the generated scenes
        optimizer = torch.optim.AdamW(run.network.parameters(), 3e-4)
        for update in range(config.updates):
            for loss, _ in run.learner.losses(update / config.updates):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        learned[name] = run.network.state_dict()
    return learned


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(_learn_all(), f"{folder}/{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Parameters and statistics of one process, and of each of two."""
    folder = tmp_path_factory.mktemp("processes")
    spawn(_worker, (str(folder),), nprocs=2)
    return _learn_all(), *(torch.load(folder / str(rank)) for rank in range(2))


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_learn_what_one_learns_of_the_joint_batch(name, learned):
    alone, *together = (state[name] for state in learned)
    torch.manual_seed(COMMON.seed)
    for key, value in alone.items():
        for part in together:
            torch.testing.assert_close(part[key], value, rtol=0, atol=1e-5, msg=key)
