"""What holds of every id beside the contract of `test_checker.py`: makers, workers, memory.

The contract itself (spaces, episodes, seeds, independence, copies, wrappers, bad input) is checked
there; `check_env` of Gymnasium and of Stable-Baselines3 in `test_single_env.py`.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from rss_env import RSSVectorEnv, environment_ids
from rss_env.kernels import (
    cell_rewards,
    gather_images,
    label_table,
    score_maps,
)
from rss_env.progressive import ProgressiveVectorEnv
from rss_env.refine import RefineVectorEnv
from rss_env.registration import LEVEL_NAMES, SEQUENCE_NAMES, parse_environment_id
from rss_env.rewards import METRICS
from rss_env.scenes import Scenes
from small_environments import SMALL, actions_for, assert_same, small_options

EACH_ID = pytest.mark.parametrize("environment_id", environment_ids())


def make(environment_id: str, data_options: Any, num_envs: int = 3, **options: Any) -> Any:
    options = {**small_options(environment_id, data_options), **options}
    return gym.make_vec(environment_id, num_envs=num_envs, **options)


@EACH_ID
def test_every_way_to_make_it_gives_the_same(environment_id, data_options):
    options = small_options(environment_id, data_options)
    native = make(environment_id, data_options)
    images, _ = native.reset(seed=5)
    actions = actions_for(native, 0)
    rewards = native.step(actions)[1]
    for prefix, how in (("", "sync"), ("", "async"), ("rss_env:", "vector_entry_point")):
        env: Any = gym.make_vec(
            f"{prefix}{environment_id}", num_envs=3, vectorization_mode=how, **options
        )
        assert_same(env.reset(seed=5)[0], images)
        np.testing.assert_array_equal(env.step(actions)[1], rewards)
        env.close()
    single = gym.make(f"rss_env:{environment_id}", **options)
    first = {k: v[0] for k, v in images.items()} if isinstance(images, dict) else images[0]
    assert_same(single.reset(seed=5)[0], first)
    assert single.step(actions[0])[1] == rewards[0]


@EACH_ID
def test_torchrl_takes_it(environment_id, data_options):
    pytest.importorskip("torchrl")
    from torchrl.envs.libs.gym import GymWrapper
    from torchrl.envs.utils import check_env_specs

    for array, group_size in (("numpy", 1), ("torch", 1), ("torch", 3)):
        env = GymWrapper(make(environment_id, data_options, array=array, group_size=group_size))
        check_env_specs(env)
        rollout = env.rollout(4, break_when_any_done=False)
        ends = rollout["next", "done"]
        assert ends.any()
        assert ends.all() == (parse_environment_id(environment_id)[1] in LEVEL_NAMES)
        env.close()
    one_step = parse_environment_id(environment_id)[1] in LEVEL_NAMES
    for formats in ({}, {"action_format": "maps"})[: 1 + one_step]:
        single = gym.make(environment_id, **formats, **small_options(environment_id, data_options))
        check_env_specs(GymWrapper(single))


def run_pickled(pickled: bytes) -> list[Any]:
    """In another process: two steps of a pickled environment."""
    env = pickle.loads(pickled)
    return [env.step(actions_for(env, step)) for step in range(2)]


def test_spawned_workers_continue_every_environment(data_options):
    envs = [make(environment_id, data_options) for environment_id in environment_ids()]
    for env in envs:
        env.reset(seed=3)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map(run_pickled, [pickle.dumps(env) for env in envs])
    for env, results in zip(envs, found, strict=True):
        for step, got in enumerate(results):
            assert_same(list(got), list(env.step(actions_for(env, step))), f"{env.spec.id} {step}")


def test_spawned_workers_of_gymnasium(data_options):
    arguments: dict[str, Any] = {
        **SMALL,
        "vectorization_mode": "async",
        "vector_kwargs": {"context": "spawn", "autoreset_mode": AutoresetMode.SAME_STEP},
    }
    name = "rss_env:RSS/Shapes-ImageReward-v0"  # so that workers import the package
    env: Any = gym.make_vec(name, num_envs=2, num_scenes=12, **arguments)
    native = make("RSS/Shapes-ImageReward-v0", data_options, num_envs=2)
    assert_same(env.reset(seed=4)[0], native.reset(seed=4)[0])
    actions = actions_for(native, 0)
    for got, want in zip(env.step(actions)[:4], native.step(actions)[:4], strict=True):
        assert_same(got, want)
    env.close()


KINDS = (RSSVectorEnv, ProgressiveVectorEnv, RefineVectorEnv, Scenes)
# of sequences those of one data set: the others differ from them as those of one step do
HELD = [*environment_ids(LEVEL_NAMES), *environment_ids(SEQUENCE_NAMES)[:2]]


def resources() -> dict[str, float]:
    """What this process holds."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "environments": sum(type(o) in KINDS for o in gc.get_objects()),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "megabytes": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
    }


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts what Linux counts")
def test_a_thousand_environments_leave_nothing_behind(data_options):
    def make_and_close(times: int) -> None:
        for _ in range(times):
            for environment_id in HELD:
                env = make(environment_id, data_options, num_envs=2, image_size=8)
                env.reset(seed=0)
                env.step(actions_for(env, 0))
                env.close()

    make_and_close(15)
    held = [resources()]
    for _ in range(3):
        make_and_close(40)
        held.append(resources())
    for what in ("environments", "files", "threads"):
        assert held[-1][what] <= held[0][what], what
    # A leak grows all the time, a heap that settles does not.
    grown = np.diff([after["megabytes"] for after in held])
    assert grown.min() < 40 * len(HELD) * 9e-3  # 9 kB for each environment


@EACH_ID
def test_every_kernel_agrees_with_its_reference(environment_id, data_options, monkeypatch):
    check_reference(environment_id, data_options, "cpu", monkeypatch)


@pytest.mark.cuda
@EACH_ID
def test_every_kernel_agrees_on_cuda(environment_id, data_options, monkeypatch):
    check_reference(environment_id, data_options, "cuda", monkeypatch)


def check_reference(environment_id: str, data_options: Any, device: str, monkeypatch: Any) -> None:
    """Run once as kernels are chosen for the device, and once with references on the CPU."""
    common = {"array": "torch", "group_size": 3, "horizontal_flip": True, "num_envs": 12}
    runs = []
    for where in (device, "reference"):
        if where == "reference":
            where = "cpu"
            kernels = (cell_rewards, gather_images, label_table, score_maps)
            for kernel in kernels:
                monkeypatch.setattr(kernel, "choose", lambda *_: "reference")
        env = make(environment_id, data_options, device=where, **common)
        images, _ = env.reset(seed=1)
        images = images["image"] if isinstance(images, dict) else images
        actions = torch.from_numpy(actions_for(env, 0)).to(where)
        results = env.step(actions)
        runs.append([images.cpu(), results[1].cpu(), *map(torch.Tensor.cpu, told_by(results))])
        env.close()
    for got, want in zip(*runs, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0 if device == "cpu" else 1e-6)


def told_by(results: Any) -> list[torch.Tensor]:
    told = results[4].get("final_info", results[4])
    return [value for name, value in told.items() if name[0] != "_"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("environment_id", environment_ids(LEVEL_NAMES))
def test_turning_a_right_pixel_wrong_never_raises_a_reward(environment_id, metric, data_options):
    """And somewhere lowers it: else nothing would have been measured."""
    number, options = 64, {"array": "torch", "scales": (1,), "metric": metric}
    if "Pixel" in environment_id and metric != "miou":
        pytest.skip("rewards of cells do not depend on the metric")
    env = make(environment_id, data_options, num_envs=number, autoreset_mode="Disabled", **options)
    env.reset(seed=2)
    classes = len(env.unwrapped.class_names)
    labels = env.unwrapped._scenes.labels_of(env.unwrapped._batch).flatten(1).long()
    random = torch.Generator().manual_seed(0)
    guess = torch.randint(0, classes, labels.shape, generator=random)
    share = torch.rand(number, 1, generator=random)  # of cells that are right
    right = (torch.rand(labels.shape, generator=random) < share) & (labels < classes)
    right[:, 0] |= labels[:, 0] < classes
    before = torch.where(right, labels, guess)
    where = torch.multinomial((before == labels).float() + 1e-9, 1, generator=random)
    turned = (before.gather(1, where) + 1 + guess[:, :1] % (classes - 1)) % classes
    after = before.scatter(1, where, turned)
    was_right = (before == labels).gather(1, where).flatten()
    assert was_right.sum() > number // 2
    first = env.step(before)[1]
    state = env.unwrapped.get_state()
    env.unwrapped.set_state({**state, "done": [0] * number})
    second = env.step(after)[1]
    assert (second <= first)[was_right].all()
    assert (second < first)[was_right].any()
