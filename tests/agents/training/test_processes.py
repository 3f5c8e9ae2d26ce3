"""Two processes learn what one process learns of the joint batch.

In double precision: in single precision the rounding of sums in another order now and then changes
a class that is drawn or the largest value of a pooling window, and the runs part a little.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numba
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from rss_agents.algorithms.reference_config import BaselineConfig
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.training.config import TrainConfig
from rss_agents.training.guarded_scorer import ScorerFailedError
from rss_agents.training.optimisation import update_once
from rss_agents.training.processes import (
    ProcessLostError,
    distribute,
    from_first_rank,
    joined_processes,
    succeed_together,
)
from rss_agents.training.setup import open_run
from rss_env.errors import InputError

COMMON = TrainConfig(
    Path("nowhere"), network="tiny-unet-group", image_size=(16,), scales=(4, 2, 1), num_images=4,
    group_size=4, updates=5, precision="float64",
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
    torch.set_num_threads(1)  # two processes beside one another
    numba.set_num_threads(1)
    learned, kept = {}, []
    for name, config in RUNS.items():
        run = open_run(config)
        run.learner.network = distribute(run.network)
        kept.append(run)  # so that runs share the generated scenes
        # (Its usual 1e-8 makes whole steps of gradients that are nothing but rounding.)
        optimizer = torch.optim.AdamW(run.network.parameters(), 3e-4, eps=1e-6)
        for update in range(config.updates):
            update_once(run.learner, optimizer, update / config.updates)
        learned[name] = run.network.state_dict()
    return learned


def _refused(rank: int) -> list[str]:
    """How each of two processes takes bad input, wherever it shows."""
    answers = []
    for config in (
        replace(COMMON, num_images=3),
        replace(COMMON, algo="psl-dice"),
        replace(COMMON, updates=rank),  # wrong in the first process alone
        replace(COMMON, updates=1 - rank),
    ):
        try:
            succeed_together(lambda config=config: open_run(config))
        except (InputError, SystemExit) as error:
            answers.append(f"{type(error).__name__} {error}")
    return answers


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    result = {"learned": _learn_all(), "refused": _refused(rank)}
    result["first"] = from_first_rank({"rank": rank})
    torch.save(result, f"{folder}/{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone():
    """What one process has learned: parameters and statistics."""
    threads, kernel_threads = torch.get_num_threads(), numba.get_num_threads()
    learned = _learn_all()
    torch.set_num_threads(threads)
    numba.set_num_threads(kernel_threads)
    return learned


@pytest.fixture(scope="module")
def pair(alone, tmp_path_factory):
    """What each of two processes has to say (after the one, which compiles kernels for them)."""
    folder = tmp_path_factory.mktemp("processes")
    spawn(_worker, (str(folder),), nprocs=2)
    return [torch.load(folder / str(rank)) for rank in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_learn_what_one_learns_of_the_joint_batch(name, alone, pair):
    for key, value in alone[name].items():
        for result in pair:
            torch.testing.assert_close(result["learned"][name][key], value, rtol=0, atol=1e-5)


def test_runs_differ_from_one_another(alone):
    """Or equality would say nothing."""
    states = [torch.cat([v.flatten() for v in state.values()]) for state in alone.values()]
    for i, state in enumerate(states):
        assert all((state - other).abs().max() > 1e-4 for other in states[:i])


def test_bad_input_is_told_by_the_first_process_that_has_it(pair):
    first, second = (result["refused"] for result in pair)
    assert "must be a multiple of 2, got 3" in first[0]
    assert "psl-dice has a loss that takes a whole batch" in first[1]
    assert first[2] == "InputError updates must be at least 1, got 0"
    assert first[3] == "SystemExit 2"
    assert second[:3] == ["SystemExit 2"] * 3
    assert second[3] == first[2]


def test_what_the_first_process_has_is_had_by_all(pair):
    assert [result["first"] for result in pair] == [{"rank": 0}] * 2


def test_a_device_is_not_shared(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    message = "cannot share device 'cuda:1'; valid: cpu, or cuda"
    with pytest.raises(InputError, match=message), joined_processes("cuda:1", 60.0):
        pass


@pytest.mark.parametrize(
    ("raised", "met"),
    [
        (RuntimeError("[pair.cc:5] Connection reset by peer"), ProcessLostError),
        (ScorerFailedError("scorer raised ConnectionResetError: Connection reset by peer"), None),
        (RuntimeError("a mistake"), None),
    ],
)
def test_what_another_process_has_to_do_with_an_error(raised, met, monkeypatch):
    """The connection of a scorer to its server is none between processes."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(numba, "set_num_threads", lambda _: None)  # of this process
    with pytest.raises(met or type(raised)) as error, joined_processes("cpu", 60.0):
        raise raised
    assert (error.value is raised) == (met is None)
