"""Rounds of the same work on a device: told kernel by kernel, or replayed as one CUDA graph.

A host takes longer to start a thousand small kernels than a GPU takes to run them. A graph of them
is started at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch

from rss_env.host_inputs import HostInputs

Result = TypeVar("Result")

_EAGER_ROUNDS = 3  # before the capture: kernels are compiled, libraries and states made


class NotCapturedWarning(UserWarning):
    """Something was not captured, and goes on kernel by kernel."""


def warn_not_captured(name: str, reason: str) -> None:
    """Say why something goes on kernel by kernel."""
    warnings.warn(
        f"{name} is not captured, and goes on kernel by kernel: {reason}",
        NotCapturedWarning,
        stacklevel=2,
    )


class CapturedRounds(Generic[Result]):
    """Calls a function of static tensors again and again; on CUDA it soon becomes a graph.

    The function takes nothing and gives a nest of tensors: all that changes from round to round
    comes through `HostInputs` that keep their tensors, or is a tensor that it changes in place. On
    other devices it is called each time, and what it gives copied into the same tensors: so that
    what holds of a graph can be tried there.
    """

    def __init__(self, name: str, work: Callable[[], Result], inputs: HostInputs):
        """Bind a function.

        Args:
            name: What a warning calls it.
            work: The function.
            inputs: What it is told by the host.
        """
        self._name, self._work, self._inputs = name, work, inputs
        self._is_on_cuda = inputs.device.type == "cuda"
        self._rounds, self._is_eager = 0, False
        self._graph: Any = None
        self._stream: Any = None
        self._result: Any = None

    def __call__(self) -> Result:
        """Do one round; the tensors are overwritten in the next one."""
        if self._rounds:
            self._inputs.refill()
        self._rounds += 1
        if not self._is_on_cuda:
            self._result = _copied_into(self._result, self._work())
        elif self._graph is not None:
            self._graph.replay()
        elif self._is_eager:
            self._result = self._work()
        elif self._rounds <= _EAGER_ROUNDS:
            self._result = self._beside(self._work)
        else:
            self._capture()
        return self._result

    def _beside(self, work: Callable[[], Result]) -> Result:
        """Work on the stream that is captured later, before all that comes on the own one."""
        device = self._inputs.device
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)
        current = torch.cuda.current_stream(device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def _capture(self) -> None:
        """Make the graph, and run it; or say why there is none, and go on without."""
        graph, device = torch.cuda.CUDAGraph(), self._inputs.device
        torch.cuda.synchronize(device)
        try:
            # What other threads do, such as reading images ahead, is no part of it.
            mode: Any = "thread_local"
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
                self._result = self._work()
        except RuntimeError as error:  # also where a library cannot be captured
            self._is_eager = True
            reason = str(error).strip().split("\n")[0][:200]
            warn_not_captured(self._name, reason)
            self._inputs.rewind()
            self._result = self._work()
            return
        self._graph = graph
        graph.replay()


def _copied_into(kept: Any, new: Any) -> Any:
    """A nest of tensors, with the values of a new one in the tensors of the one before."""
    if isinstance(new, torch.Tensor):
        if kept is None:
            return new.detach().clone()
        kept.copy_(new.detach())
        return kept
    if isinstance(new, dict):
        return {k: _copied_into(None if kept is None else kept[k], v) for k, v in new.items()}
    if isinstance(new, (list, tuple)):
        before = [None] * len(new) if kept is None else kept
        return type(new)(_copied_into(b, n) for b, n in zip(before, new, strict=True))
    return new
