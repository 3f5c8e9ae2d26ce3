"""An update on CUDA never makes the host wait: shown without a GPU.

Tensors that only pretend to be on CUDA (`FakeTensorMode`) are driven through the environment, the
network, sampling and the loss, under a guard that refuses whatever makes a host wait for its
device. Autograd's engine does not run for them: gradients are taken on the CPU, under the same
guard, where waiting shows as well.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import small_environments
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.networks.tiny_unet import TinyUNet
from rss_env import vector_env

# Operators whose result, or its shape, the host has to be told.
WAITING = """
    _local_scalar_dense item is_nonzero equal nonzero nonzero_static masked_select _unique _unique2
    unique_dim unique_consecutive unique_dim_consecutive bincount histc _linalg_check_errors
""".split()


class RefuseToWait(TorchDispatchMode):
    """Raises for every operator that makes a host wait for its device.

    Copies from the host to the device are allowed if they are not waited for.
    """

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        assert name not in WAITING, f"the host waits for {function}"
        if name in ("index", "index_put", "index_put_"):
            masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
            assert not masks, "the host waits for the number of elements of a mask"
        if name == "repeat_interleave":
            assert kwargs.get("output_size") is not None, "the host waits for a number of repeats"
        if name == "_to_copy":
            source, device = args[0].device, kwargs.get("device")
            target = source if device is None else torch.device(device)
            self.check_copy(source, target, kwargs.get("non_blocking", False))
        if name == "copy_":
            non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
            self.check_copy(args[1].device, args[0].device, non_blocking)
        return function(*args, **kwargs)

    @staticmethod
    def check_copy(source: torch.device, target: torch.device, non_blocking: bool) -> None:
        if source.type != target.type:
            assert source.type == "cpu", "copies to the host"
            assert non_blocking, "the host waits for a copy"


class GeneratorOfTheHost(torch.Generator):
    """A generator that pretends to be on CUDA, where fake tensors ask it for nothing."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls)

    def __init__(self, device: torch.device | str = "cpu"):
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._device


def shapes_of_gradients(outputs, inputs, **_):
    """What `torch.autograd.grad` would return, without values."""
    return tuple(torch.empty_like(tensor) for tensor in inputs)


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch):
    """Everything made here pretends to be on CUDA, if it asks for it."""
    with monkeypatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True):
        patch.setattr(torch, "Generator", GeneratorOfTheHost)
        patch.setattr(torch.autograd, "grad", shapes_of_gradients)
        patch.setattr(vector_env, "can_capture", lambda env: False)  # which needs a real device
        yield


def make(level: str, device: str, **options) -> Any:
    options = {"num_envs": 6, "group_size": 3, "array": "torch", "device": device, **options}
    return small_environments.make(f"RSS/Shapes-{level}-v0", **options)


def make_learner(name: str, device: str) -> RSSLearner:
    level, options, config = LEARNERS[name]
    env = make(level, device, **options).unwrapped
    classes = env.geometry.num_classes
    with torch.device(device):
        network = SegmentationNetwork(TinyUNet(classes, widths=(4, 8)), classes)
    return RSSLearner(network, env, RSSConfig(**config), seed=0)


ENVIRONMENTS = {
    "exact": ("ImageReward", {}),
    "every metric of classes": ("ImageReward", {"metric": "dice", "class_scores": True}),
    "varied images": (
        "ImageReward",
        {"horizontal_flip": True, "zoom": (0.75, 1.5), "colour_jitter": 0.3},
    ),
    "ratings": ("ImageReward", {"feedback": "rating:5"}),
    "noise": ("ImageReward", {"feedback": "noisy:0.1"}),
    "ranking": ("ImageReward", {"feedback": "ranking"}),
    "rewards of cells": ("PixelReward", {"feedback": "noisy:0.1"}),
}


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_steps_of_environments_do_not_wait(name, mode, monkeypatch):
    level, options = ENVIRONMENTS[name]
    with fake_cuda(monkeypatch):
        env = make(level, "cuda", autoreset_mode=mode, **options)
        observations, _ = env.reset(seed=0)
        shape = (6, env.unwrapped.geometry.num_cells)
        for dtype in (torch.int64, torch.uint8):
            actions = torch.empty(shape, dtype=dtype, device="cuda")
            with RefuseToWait():
                observations, rewards, *_, infos = env.step(actions)
            assert observations.shape == (6, 16, 24, 3)
            assert (rewards.shape, rewards.dtype) == ((6,), torch.float32)
            told = [observations, rewards, *infos.values(), *infos.get("final_info", {}).values()]
            devices = {tensor.device.type for tensor in told if not isinstance(tensor, dict)}
            assert devices == {"cuda"}


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("show_scores", [True, False])
def test_drawing_step_by_step_does_not_wait(mode, show_scores, monkeypatch):
    """Where an episode stops only as its steps are used up: in `Refine` the actions say when."""
    with fake_cuda(monkeypatch):
        env = make("Progressive", "cuda", autoreset_mode=mode, show_scores=show_scores)
        env.reset(seed=0)
        for _ in range(5):
            actions = torch.empty((6, 384), dtype=torch.int64, device="cuda")
            with RefuseToWait():
                observations, rewards, *_ = env.step(actions)
            assert observations["map"].shape == (6, 16, 24, 1)
            devices = {part.device.type for part in (*observations.values(), rewards)}
            assert devices == {"cuda"}


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_editing_waits_for_the_flags_of_who_stops_alone(mode, monkeypatch):
    with fake_cuda(monkeypatch):
        env = make("Refine", "cuda", autoreset_mode=mode, start=first_class, max_steps=2)
        env.reset(seed=0)
        copied: list[tuple[int, ...]] = []
        monkeypatch.setattr(torch.Tensor, "cpu", lambda t: copied.append(tuple(t.shape)) or NO_STOP)
        for _ in range(3):
            shape = (6, len(env.unwrapped.single_action_space.nvec))
            actions = torch.zeros(shape, dtype=torch.int64, device="cuda")
            with RefuseToWait():
                env.step(actions)
        assert copied == [(6,)] * (3 if mode == "SameStep" else 2)  # then one that only resets


NO_STOP = SimpleNamespace(numpy=lambda: np.zeros(6, np.bool_))


def first_class(images: torch.Tensor) -> torch.Tensor:
    return torch.zeros((len(images), 16, 24), dtype=torch.int64, device=images.device)


LEARNERS = {
    "default": ("ImageReward", {}, {}),
    "no memory": ("ImageReward", {}, {"replay": 0}),
    "no pairs": ("ImageReward", {}, {"psd": False}),
    "pixel accuracy": ("ImageReward", {"metric": "pixel_accuracy"}, {}),
    "ranking": ("ImageReward", {"feedback": "ranking"}, {}),
    "noise": ("ImageReward", {"feedback": "noisy"}, {}),
    "stars": ("ImageReward", {"feedback": "rating"}, {}),
    "noise, cell by cell": ("ImageReward", {"feedback": "noisy"}, {"varied": 0.0}),
    "stars, cell by cell": ("ImageReward", {"feedback": "rating"}, {"varied": 0.0}),
    "linear": ("ImageReward", {}, {"score_model": "linear"}),
    "policy gradient": ("ImageReward", {}, {"objective": "policy_gradient"}),
    "rewards of cells": ("PixelReward", {}, {}),
    "rewards of cells, linear": ("PixelReward", {}, {"score_model": "linear"}),
}
EACH_LEARNER = pytest.mark.parametrize("name", LEARNERS)


@EACH_LEARNER
def test_losses_do_not_wait(name, monkeypatch):
    """Forward, sampling, step, score, memory and loss; the second time, images may come back."""
    with fake_cuda(monkeypatch):
        learner = make_learner(name, "cuda")
        for progress in (0.0, 0.5):
            with RefuseToWait():
                loss, metrics = learner.loss(progress)
            assert loss.shape == ()
            assert loss.requires_grad
            assert {t.device.type for t in (loss, *metrics.values())} == {"cuda"}


@EACH_LEARNER
def test_gradients_do_not_wait(name):
    """On the CPU, where the values are real: loss, backward and the optimiser's step."""
    torch.manual_seed(0)
    learner = make_learner(name, "cpu")
    optimizer = torch.optim.AdamW(learner.network.parameters(), fused=True)
    for progress in (0.0, 0.5):
        with RefuseToWait():
            loss, _ = learner.loss(progress)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        assert loss.isfinite()
    gradients = [p.grad for p in learner.network.parameters() if p.grad is not None]
    assert len(gradients) == len(list(learner.network.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


WAITS = {
    "item": lambda x: x.sum().item(),
    "truth": lambda x: bool(x.any()),
    "list": lambda x: x.tolist(),
    "copy to the host": lambda x: x.cpu(),
    "copy into the host's": lambda x: torch.empty(4).copy_(x, non_blocking=True),
    "mask": lambda x: x[x > 0],
    "mask written": lambda x: x.index_put_((x > 0,), torch.zeros((), device=x.device)),
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "repeats": lambda x: x.repeat_interleave(x.long()),
    "new tensor": lambda x: x.new_tensor(1.0),
    "copy of the host's": lambda x: torch.from_numpy(np.ones(4)).to(x.device),
    "checked solution": lambda x: torch.linalg.cholesky(torch.diag(x)),
}


@pytest.mark.parametrize("name", WAITS)
def test_the_guard_refuses_what_waits(name, monkeypatch):
    with ExitStack() as stack:
        stack.enter_context(fake_cuda(monkeypatch))
        x = torch.ones(4, device="cuda")
        stack.enter_context(RefuseToWait())
        with pytest.raises(AssertionError, match=r"the host waits|copies to the host"):
            WAITS[name](x)


def test_the_guard_allows_what_does_not_wait(monkeypatch):
    with fake_cuda(monkeypatch), RefuseToWait():
        x = torch.ones(4, device="cuda")
        x[torch.zeros(2, dtype=torch.int64, device="cuda")] = 2.0
        torch.where(x > 0, x, 0.0)
        torch.from_numpy(np.ones(4, np.float32)).to("cuda", non_blocking=True).add_(x)
        torch.linalg.cholesky_ex(torch.diag(x))
