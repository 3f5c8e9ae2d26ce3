"""What goes on for hours loses no memory and no files; processes do not get in each other's way."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch
from conftest import Tally, effort

from rss_agents import train
from rss_agents.command_line import DataConfig
from rss_agents.training.config import TrainConfig
from rss_agents.training.optimisation import update_once
from rss_agents.training.setup import open_run
from rss_env.array_cache import keep_array
from small_environments import actions_for, make
from training_runs import TINY

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.timeout(effort(150, 900))]
CONTEXTS = ["spawn", *({"fork"} & set(multiprocessing.get_all_start_methods()))]
ID = "RSS/Shapes-ImageReward-v0"


def collect() -> None:
    """Let go of what nothing refers to, so that the memory of the process is that in use."""
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # (not every C library has it)


def growth(act: Callable[[int], Any], times: int, warm_up: int) -> tuple[float, int]:
    """Memory that is lost, in KiB per 1,000 times, and how many more files are open at the end."""
    process = psutil.Process()
    for i in range(warm_up):
        act(i)
    collect()
    gc.freeze()  # what is there by now need not be looked through each time
    files = process.num_fds()
    every = max(1, times // 50)
    done, resident = [], []
    for i in range(times):
        act(warm_up + i)
        if i % every == 0:
            collect()
            done.append(i / 1000)
            memory = process.memory_full_info()  # what is swapped out counts too
            resident.append((memory.rss + getattr(memory, "swap", 0)) / 1024)
    gc.unfreeze()
    slope = np.polyfit(done, resident, 1)[0]
    return float(slope), process.num_fds() - files


def assert_flat(tally: Tally, what: str, lost: float, files: int, bound: float) -> None:
    tally.measure(f"memory slope, KiB per 1,000 {what}", lost)
    tally.measure(f"more open files after {what}", files)
    assert files <= 0
    assert lost < bound


def test_a_leak_is_found():
    kept: list[Any] = []
    lost, _ = growth(lambda _: kept.append(np.ones(4096)), 400, 50)
    assert 20_000 < lost < 50_000
    _, files = growth(lambda _: kept.append(os.open(os.devnull, os.O_RDONLY)), 20, 5)
    assert files == 20
    for file in kept[-25:]:
        os.close(file)


@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_steps_lose_nothing(tally, array):
    """A step's images are 96 KiB: one kept in a hundred shows."""
    env = make(num_envs=8, image_size=(64, 64), group_size=2, array=array, horizontal_flip=True)
    actions = [actions_for(env, i) for i in range(8)]
    actions = [torch.from_numpy(a) if array == "torch" else a for a in actions]
    env.reset(seed=0)
    steps = effort(500, 10_000)
    lost, files = growth(lambda i: env.step(actions[i % 8]), steps, steps // 2)
    tally("env steps", steps)
    assert_flat(tally, f"{array} steps", lost, files, effort(1000, 60))
    env.close()


@pytest.mark.parametrize("algo", ["rss", "psl"])
def test_updates_lose_nothing(tally, tmp_path, algo):
    run = open_run(
        TrainConfig(
            out=tmp_path / "run",
            data=DataConfig(env=ID),
            algo=algo,
            image_size=(16,),
            scales=(4, 1),
            num_images=2,
            group_size=2,
        )
    )
    updates = effort(100, 2000)
    lost, files = growth(
        lambda _: update_once(run.learner, run.optimizer, 0.5), updates, updates // 2
    )
    tally("updates", updates)
    assert_flat(tally, f"{algo} updates", lost, files, effort(20_000, 1000))


def test_trainings_lose_nothing(tally, tmp_path):
    """Whole runs of `rss-train`, one after the other in one process."""
    out = ["--overwrite", "--out", str(tmp_path / "run")]
    times = effort(20, 200)
    lost, files = growth(lambda _: train.main([*TINY, "--updates", "2", *out]), times, times // 4)
    tally("trainings in one process", times)
    assert_flat(tally, "trainings", lost, files, effort(250_000, 60_000))


@pytest.mark.parametrize("dataset", ["Shapes", "VOC"])
def test_making_and_closing_loses_nothing(tally, data_options, dataset):
    def make_and_close(seed: int) -> None:
        env = gym.make_vec(
            f"RSS/{dataset}-ImageReward-v0", num_envs=2, image_size=32, **data_options[dataset]
        )
        env.reset(seed=seed)
        env.step(env.action_space.sample())
        env.close()

    times = effort(30, 1000)
    lost, files = growth(make_and_close, times, times // 2)
    tally("environments made and closed", times)
    assert_flat(tally, f"{dataset} environments", lost, files, effort(40_000, 1500))


# --- processes ---


def rewards_of(env: Any, seed: int) -> list[float]:
    env.reset(seed=seed)
    return [float(reward) for i in range(3) for reward in env.step(actions_for(env, i))[1]]


def play(seed: int) -> list[float]:
    env = make()
    rewards = rewards_of(env, seed)
    env.close()
    return rewards


@pytest.mark.parametrize("context", CONTEXTS)
def test_other_processes_see_the_same(tally, context):
    """Also forks of a process whose kernels have run, in threads of their own."""
    expected = [play(seed) for seed in range(4)]
    workers = ProcessPoolExecutor(2, multiprocessing.get_context(context))
    with workers as pool:
        assert list(pool.map(play, range(4), timeout=120)) == expected
    tally("environments in other processes", 4)


def send_rewards(env: Any, pipe: Any) -> None:
    pipe.send(rewards_of(env, 5))


@pytest.mark.skipif("fork" not in CONTEXTS, reason="nothing forks here")
def test_an_environment_is_used_on_both_sides_of_a_fork():
    context, env = multiprocessing.get_context("fork"), make()
    expected = rewards_of(env, 5)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=send_rewards, args=(env, sender))
    child.start()
    assert rewards_of(env, 5) == expected
    assert receiver.poll(60)
    assert receiver.recv() == expected
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize("context", CONTEXTS)
def test_gymnasium_runs_environments_in_processes(context):
    make_one = partial(gym.make, f"rss_env:{ID}", num_scenes=8, image_size=16, scales=(4, 1))
    env = gym.vector.AsyncVectorEnv([make_one] * 2, context=context)
    images, _ = env.reset(seed=3, options=None)
    assert images.shape == (2, 16, 16, 3)
    _, rewards, terminated, *_ = env.step(env.action_space.sample())
    assert terminated.all()
    assert ((rewards >= 0) & (rewards <= 1)).all()
    env.close()


def ask_often(seed: int, times: int) -> int:
    """Ask for few arrays in ever new versions; returns how many were right."""
    random, right = np.random.default_rng(seed), 0
    for _ in range(times):
        place, version = (int(n) for n in random.integers(0, 3, 2))
        value = 10 * place + version
        found = keep_array("numbers", place, version, lambda v=value: np.full(20_000, v)).values
        right += int(found.shape == (20_000,) and (found == value).all())
    return right


@pytest.mark.filterwarnings("error::UserWarning")
def test_processes_share_a_cache(tally, tmp_path, monkeypatch):
    """Whoever replaces a file, nobody sees half of one, and only the latest are left."""
    monkeypatch.setenv("RSS_CACHE_DIR", str(tmp_path / "cache"))
    times = effort(60, 2000)
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(ask_often, range(4), [times] * 4, timeout=600)) == [times] * 4
    tally("cached arrays asked for by four processes", 4 * times)
    names = [path.name for path in (tmp_path / "cache").iterdir()]
    assert len([name for name in names if name.endswith(".npy")]) == 3
    assert len([name for name in names if name.endswith(".json")]) == 3
    assert not [name for name in names if not name.endswith((".npy", ".json", ".lock"))]
