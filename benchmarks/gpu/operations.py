"""How many operations of PyTorch and kernels of Triton does an update, or a step, start on CUDA?

    python -m benchmarks.gpu.operations
    python -m benchmarks.gpu.operations --backend reference  # as if Triton were not there

Counted without a GPU, and nothing is timed: work is done on the CPU with the backends that CUDA
takes. Kernels of Triton are counted in place of being started, and what they would have written is
zeros. Operations that start nothing on a device are left out: views, and new tensors. One operation
may start several kernels (a convolution, a factorisation), so a profiler sees more than these.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import gymnasium as gym
import torch
import tyro
from torch.utils._python_dispatch import TorchDispatchMode

import rss_agents.kernels
import rss_env.kernels
from benchmarks.timing import markdown_table
from rss_agents.command_line import DataConfig
from rss_agents.training.config import TrainConfig
from rss_agents.training.device_adamw import DeviceAdamW
from rss_agents.training.setup import open_run
from rss_env.captured_step import CapturedStep
from rss_env.class_indices import narrow
from rss_env.host_inputs import HostInputs
from rss_env.kernels import dispatch

PACKAGES = (rss_env.kernels, rss_agents.kernels)
_NEW = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided")
_IDLE = (*_NEW, "detach", "lift_fresh", "_local_scalar_dense", "_unsafe_view")
_ENVIRONMENT = "RSS/Shapes-ImageReward-v0"


@dataclass
class OperationsConfig:
    """Count what an update of `rss` and a step of its environment start on CUDA."""

    backend: Literal["triton", "reference"] = "triton"
    """What kernels take there: their backend in Triton where they have one, or the reference."""
    image_size: int = 64
    """Side of the images, in pixels."""
    num_images: int = 16
    """Images of a batch."""
    group_size: int = 8
    """Maps of each image."""


class Counting(TorchDispatchMode):
    """Counts operations.

    Attributes:
        found: How many there were, by the kernel of ours that they are part of, or by `around`.
        around: What those are part of that are part of no kernel.
    """

    def __init__(self):
        super().__init__()
        self.found: Counter[str] = Counter()
        self.around = ""
        self._on_host = False

    def count(self) -> None:
        """Count one."""
        if not self._on_host:
            self.found[self._place()] += 1

    @contextmanager
    def on_host(self) -> Iterator[None]:
        """Leave out what the host does for itself."""
        self._on_host = True
        yield
        self._on_host = False

    def _place(self) -> str:
        """The outermost kernel of ours that is at work."""
        frame, place = sys._getframe(1), self.around
        while frame is not None:
            package, _, name = frame.f_globals.get("__name__", "").rpartition(".")
            if package in (own.__name__ for own in PACKAGES) and name != "dispatch":
                place = name
            frame = frame.f_back
        return place

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        """Do an operation and count it; new tensors are zeros, as nothing else writes to them."""
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in _NEW:
            return result.zero_()
        if name not in _IDLE and not function.is_view:
            self.count()
        return result


@contextmanager
def as_on_cuda(backend: str, counting: Counting) -> Iterator[None]:
    """Take the backends of CUDA for tensors on the CPU, and count."""
    send = HostInputs.send

    def launch(*arguments: Any, **_: Any) -> None:
        counting.count()
        for argument in arguments:
            if isinstance(argument, torch.Tensor) and not argument.is_contiguous():
                counting.count()  # it is copied first

    def choose(asked: str, tensor: Any, backends: Any = ("numba",)) -> str:
        if asked == "triton":  # chosen before
            return asked
        if asked != "auto" or not isinstance(tensor, torch.Tensor):
            return dispatch.choose(asked, tensor, backends)
        return "triton" if "triton" in backends and backend == "triton" else "reference"

    def send_and_count(self: HostInputs, make: Callable[[], Any]) -> list[Any]:
        with counting.on_host():
            parts = send(self, make)
        for part in parts:
            if part is not None:
                counting.count()
        return parts

    with ExitStack() as stack, counting:
        for package in PACKAGES:
            for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                module = importlib.import_module(found.name)
                if module is not dispatch and hasattr(module, "choose"):
                    stack.enter_context(patch.object(module, "choose", choose))
                if hasattr(module, "launch"):
                    stack.enter_context(patch.object(module, "launch", launch))
        stack.enter_context(patch.object(HostInputs, "send", send_and_count))
        yield


def count_update(config: OperationsConfig) -> Counter[str]:
    """Operations of an update of `rss` with the defaults, after one that fills the memory."""
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(
            TrainConfig(
                out=Path(folder) / "run",
                data=DataConfig(_ENVIRONMENT),
                image_size=(config.image_size,),
                num_images=config.num_images,
                group_size=config.group_size,
                device="cpu",
                capture=False,
            )
        )
    parameters = list(run.network.parameters())
    optimizer = DeviceAdamW(parameters, torch.device("cpu"))
    for counts in (False, True):
        counting = Counting()
        with as_on_cuda(config.backend, counting) if counts else ExitStack():
            counting.around = "network and loss, forward"
            loss, _ = run.learner.loss(0.5)
            optimizer.zero_grad(set_to_none=True)
            counting.around = "all gradients"
            loss.backward()
            counting.around = "clipping and AdamW"
            torch.nn.utils.clip_grad_norm_(parameters, torch.inf)
            optimizer.step()
    return counting.found


def count_step(config: OperationsConfig) -> Counter[str]:
    """Operations of a step of the same environment, as it is captured."""
    env: Any = gym.make_vec(
        _ENVIRONMENT,
        num_envs=config.num_images * config.group_size,
        group_size=config.group_size,
        image_size=config.image_size,
        array="torch",
    ).unwrapped
    geometry = env.geometry
    actions = torch.zeros(env.num_envs, geometry.num_cells, dtype=torch.uint8)
    # What looks at the kind of device takes it for another than the CPU.
    env._on_cpu, env._parse = False, lambda given: narrow(given, geometry.num_classes, "actions")
    env.reset(seed=0)
    step = CapturedStep(env, actions)
    step(actions)
    counting = Counting()
    counting.around = "around the kernels"
    with as_on_cuda(config.backend, counting):
        step(actions)
    env.close()
    return counting.found


def main(config: OperationsConfig) -> None:
    """Count both, and print a table of each."""
    for title, found in (("update", count_update(config)), ("step", count_step(config))):
        rows = [(name, str(count)) for name, count in found.most_common()]
        rows.append(("in all", str(found.total())))
        print(f"## An {title}\n" if title == "update" else f"## A {title}\n")
        print(markdown_table(("part", "operations"), rows))


if __name__ == "__main__":
    main(tyro.cli(OperationsConfig, prog="benchmarks.gpu.operations"))
