"""Updates that can be replayed: a plain function of tensors that stay where they are.

No device is needed: on the CPU the function is called each time, and what holds of a CUDA graph is
looked at: the same inputs in the same places, nothing new from the host, the same numbers.
"""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from rss_agents.algorithms.reference_config import BaselineConfig
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.training.capture import captures_updates, obstacle
from rss_agents.training.config import TrainConfig
from rss_agents.training.device_adamw import DeviceAdamW
from rss_agents.training.run import GradientRun
from rss_agents.training.setup import open_run
from rss_env import arrays
from rss_env.captured_rounds import NotCapturedWarning
from rss_env.host_inputs import HostInputs

pytestmark = pytest.mark.usefixtures("one_thread")

UPDATES = 4
SMALL: dict[str, Any] = {
    "image_size": (16,), "scales": (4, 2), "num_images": 2, "group_size": 2, "updates": UPDATES,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "rss": {},
    "noise and varied maps": {"feedback": "noisy:0.05"},
    "augmented": {"zoom": (0.8, 1.5), "colour_jitter": 0.3},
    "views": {"zoom": (0.8, 1.5), "num_views": 2},
    "parts of images": {"crop_size": (8,), "scales": (4, 2)},
    "policy gradient": {"agent": RSSConfig(objective="policy_gradient")},
    "linear": {"agent": RSSConfig(score_model="linear")},
    "rewards of cells": {"data": DataConfig("RSS/Shapes-PixelReward-v0")},
    "two batches": {"accumulate": 2, "clip_gradient": 0.5},
    "psl": {"algo": "psl"},
    "psl-metric": {"algo": "psl-metric"},
    "psl-multiscale": {"algo": "psl-multiscale"},
    "wsss-cam": {"algo": "wsss-cam"},
    "reinforce": {"algo": "reinforce", "baseline": BaselineConfig(exploration=0.1)},
    "ppo": {"algo": "ppo"},
}
EACH_RUN = pytest.mark.parametrize("name", RUNS)


def opened(name: str, out: Path, captures: bool = False) -> GradientRun:
    """A run, which replays its updates or not."""
    options = {"out": out, "data": DataConfig("RSS/Shapes-ImageReward-v0"), **SMALL, **RUNS[name]}
    run = open_run(TrainConfig(**options))
    run.captures = captures
    run._begin_capture()
    return run


def updated(run: GradientRun, first: int = 0, count: int = UPDATES) -> list[dict[str, Any]]:
    """What some updates say."""
    return [
        {k: v.clone() if torch.is_tensor(v) else v for k, v in run.update(u / UPDATES).items()}
        for u in range(first, first + count)
    ]


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_equal(value, other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_equal(*pair, f"{where}[{number}]")
    elif torch.is_tensor(one):
        assert one.dtype == other.dtype, where
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0)), where
    else:
        assert one == other, where


@EACH_RUN
def test_replayed_updates_are_those_of_the_loop(name, tmp_path):
    eager, replayed = opened(name, tmp_path), opened(name, tmp_path, captures=True)
    assert_equal(updated(eager), updated(replayed))
    assert_equal(eager.get_state(), replayed.get_state())


@EACH_RUN
def test_replayed_updates_read_the_same_memory(name, tmp_path, monkeypatch):
    """What comes from the host comes through the inputs, and results lie where they lay before."""
    run = opened(name, tmp_path, captures=True)
    first = run.update(0.0)
    inputs, told = run._inputs, []
    sent = [t.data_ptr() for tensors in inputs._sent for t in tensors if t is not None]
    places = {n: v.data_ptr() for n, v in first.items() if torch.is_tensor(v)}

    def refuse(*_: Any) -> Any:
        assert told, "the host told the device something beside its inputs"
        return arrays.to_device(*_)

    refill = HostInputs.refill

    def refilled(self: HostInputs) -> None:
        told.append(True)
        refill(self)
        told.clear()

    monkeypatch.setattr(HostInputs, "refill", refilled)
    for module in list(sys.modules.values()):
        if module is not arrays and getattr(module, "to_device", None) is arrays.to_device:
            monkeypatch.setattr(module, "to_device", refuse)
    second = run.update(0.5)
    assert sent == [t.data_ptr() for tensors in inputs._sent for t in tensors if t is not None]
    assert places == {n: v.data_ptr() for n, v in second.items() if torch.is_tensor(v)}


def test_a_replayed_run_goes_on_from_the_state_of_one_that_was_not(tmp_path):
    whole = updated(opened("rss", tmp_path))
    for captures in ((False, True), (True, False), (True, True)):
        before, after = (opened("rss", tmp_path, captures=c) for c in captures)
        updated(before, count=2)
        state = copy.deepcopy(before.get_state())
        updated(after, count=1)  # it is made ready for other tensors by then
        after.set_state(state, state)
        assert_equal(updated(after, first=2, count=2), whole[2:])


def test_what_forbids_a_capture_is_said_once(tmp_path):
    def config(**options: Any) -> TrainConfig:
        return TrainConfig(out=tmp_path, **options)

    assert obstacle(config()) is None
    for options, reason in (
        ({"scorer": "module:function"}, "--scorer module:function is asked by the host"),
        ({"scorer": "person"}, "--scorer person"),
        ({"algo": "sb3-ppo"}, "Stable-Baselines3"),
        ({"queries": 1000}, "--queries"),
        ({"agent": RSSConfig(objective="expert_iteration")}, "searches biases"),
    ):
        with pytest.warns(NotCapturedWarning, match="the update is not captured") as caught:
            assert not captures_updates(config(**options), "cuda")
        assert len(caught) == 1
        assert reason in str(caught[0].message)
    with pytest.warns(NotCapturedWarning, match="answers of the network it starts from"):
        assert not captures_updates(config(), "cuda", compares_answers=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert captures_updates(config(), "cuda")
        assert not captures_updates(config(), "cpu")  # nothing to be gained, and nothing said
        assert not captures_updates(config(capture=False, scorer="person"), "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adamw_of_devices_is_that_of_pytorch(dtype):
    """Under a schedule that moves the rate and the first mean's decay; states are exchanged."""
    torch.manual_seed(0)
    start = [torch.randn(3, 4, dtype=dtype), torch.randn(5, dtype=dtype)]
    gradients = [[torch.randn_like(p) for p in start] for _ in range(6)]

    def build(kind: str) -> tuple[list[torch.Tensor], Any, Any]:
        parameters = [p.clone().requires_grad_() for p in start]
        groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 1e-3}]
        options: dict[str, Any] = {"lr": 1e-2, "weight_decay": 0.1}
        if kind == "device":
            optimizer: Any = DeviceAdamW(groups, torch.device("cpu"), **options)
        else:
            optimizer = torch.optim.AdamW(groups, **options)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [1e-2, 1e-3], total_steps=8)
        return parameters, optimizer, schedule

    sides = [build("device"), build("pytorch")]
    for number, step in enumerate(gradients):
        if number == 3:  # each goes on from the other's state
            states = [copy.deepcopy(optimizer.state_dict()) for _, optimizer, _ in sides]
            for (_, optimizer, _), state in zip(sides, reversed(states), strict=True):
                optimizer.load_state_dict(state)
        for parameters, optimizer, schedule in sides:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
            schedule.step()
        for one, other in zip(sides[0][0], sides[1][0], strict=True):
            torch.testing.assert_close(one, other)
    parameters, optimizer, _ = sides[0]
    parameters[0].grad = None  # as of a part that was not asked
    before = parameters[0].detach().clone()
    optimizer.step()
    assert parameters[0].equal(before)


@pytest.mark.cuda
@EACH_RUN
def test_captured_updates_are_those_of_the_loop_on_cuda(name, tmp_path, monkeypatch):
    """A graph gives what its kernels give one by one: to rounding, where they add atomically."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    options: dict[str, Any] = {"device": "cuda", "updates": 8}
    base = {"out": tmp_path, "data": DataConfig("RSS/Shapes-ImageReward-v0"), **SMALL, **options}
    eager = open_run(TrainConfig(**{**base, **RUNS[name], "capture": False}))
    captured = open_run(TrainConfig(**{**base, **RUNS[name]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotCapturedWarning)
        for number in range(8):
            one, other = (float(run.update(number / 8)["loss"]) for run in (eager, captured))
            assert other == pytest.approx(one, rel=1e-3, abs=1e-5), number
