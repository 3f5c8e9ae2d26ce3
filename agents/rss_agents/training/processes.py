"""Training in several processes: how they are joined, share a network, and stop or fail together.

`torchrun --nproc-per-node=N -m rss_agents.train ...` starts N of them: docs/several-machines.md.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar, cast

import numba
import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # before there is a group, or its defaults would keep it
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rss_agents.distributed import max_over_ranks, rank, world_size
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.arguments import check_device
from rss_env.errors import InputError, check_value
from rss_env.kernels.dispatch import start_threads

Value = TypeVar("Value")

_LONGEST_TIMEOUT = 10_000_000
# What gloo says when a connection ends, or nothing comes; it has no exception of its own.
_SIGNS_OF_LOSS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
_SIGNS_OF_SILENCE = ("Timed out waiting", "Application timeout", "timed out")


class ProcessLostError(RuntimeError):
    """Another process of the run has ended or hangs, so that this one cannot go on."""


@contextmanager
def joined_processes(device: str, timeout: float) -> Iterator[None]:
    """Join the processes that torchrun started, unless they are joined or there is but one.

    Args:
        device: `cpu` uses gloo; `cuda` uses NCCL, and means the GPU of a process's local rank.
        timeout: Seconds to wait for another process, which may be validating, before it is lost.

    Raises:
        InputError: If several processes cannot share the device, or the timeout is none.
        ProcessLostError: In place of the error that the loss of another process causes.
    """
    valid = f"above 0 and at most {_LONGEST_TIMEOUT} seconds"
    check_value(0 < timeout <= _LONGEST_TIMEOUT, "process_timeout", valid, timeout)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    backend = "gloo"
    if device == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(check_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}"))
    elif device != "cpu":
        raise InputError(
            f"several processes cannot share device {device!r}; valid: cpu, or cuda, which gives "
            "each process a GPU of its own"
        )
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        # Processes beside one another: torchrun allows each of them one thread unless told
        # otherwise.
        start_threads()
        numba.set_num_threads(min(numba.get_num_threads(), torch.get_num_threads()))
        yield
    except RuntimeError as error:  # the group cannot be left in order any more
        # Errors of a type of their own, such as a scorer's, may say the same of something else.
        is_of_group = isinstance(error, dist.DistError)
        if type(error) is not RuntimeError and not is_of_group:
            raise
        silent = any(sign in str(error) for sign in _SIGNS_OF_SILENCE)
        lost = any(sign in str(error) for sign in _SIGNS_OF_LOSS)
        if not (silent or lost or is_of_group):
            raise
        happened = "ended"
        if silent:
            happened = f"not answered for {timeout:g} seconds (--process-timeout)"
        number, count = (os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE"))
        raise ProcessLostError(
            f"another process of this run has {happened}, so process {number} of {count} stops too"
        ) from error
    dist.destroy_process_group()
    # What has learned lies in cycles of references, and keeps the group and its threads. One of
    # those that lets go of a tensor while the interpreter ends aborts the process.
    gc.collect()


def own_images(num_images: int) -> int:
    """Number of the images of an update that are this process's.

    Raises:
        InputError: If they cannot be shared out equally.
    """
    if num_images % world_size():
        raise InputError(
            f"num_images is shared out among the processes: it must be a multiple of "
            f"{world_size()}, got {num_images}"
        )
    return num_images // world_size()


def succeed_together(function: Callable[[], Value]) -> Value:
    """Call a function on every rank and return once it has succeeded on all of them.

    Raises:
        InputError: Of the first rank that failed, on that rank; the others exit with its code, 2,
            and leave the talking to it.
    """
    value, failure = None, None
    try:
        value = function()
    except InputError as error:
        failure = error
    first_failed = world_size() - max_over_ranks(0 if failure is None else world_size() - rank())
    if first_failed == world_size():
        assert value is not None
        return value
    if failure is not None and rank() == first_failed:
        raise failure
    sys.exit(2)


def from_first_rank(value: Value | None) -> Value:
    """The first rank's value, on every rank; what the others give is ignored."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values, src=0)
    return cast(Value, values[0])


def distribute(network: SegmentationNetwork) -> nn.Module:
    """A network to learn with, of the same parameters, whose gradients are averaged over the ranks.

    To be called on all ranks at the same time; for one process it is the network itself. On CUDA,
    batch normalisation is over the whole batch from then on; PyTorch offers that nowhere else.
    """
    if world_size() == 1:
        return network
    if network.mean.device.type == "cuda":
        network.body = nn.SyncBatchNorm.convert_sync_batchnorm(network.body)
    # The gradient of a 1x1 kernel may have the strides of either memory format: both are the same.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return DistributedDataParallel(network, gradient_as_bucket_view=True)


_received: list[int] = []  # signals, while `stop_signal` takes note of them


def stop_asked_for() -> bool:
    """Tell whether this process was asked to stop and has not done so yet."""
    return bool(_received)


@contextmanager
def stop_signal() -> Iterator[Callable[[], str | None]]:
    """Take note of interrupts instead of dying of the first.

    A second one is final for a process by itself. (Of several, torchrun passes on what the terminal
    has sent them already, and ends those that linger.)

    Yields:
        A function to be called on all ranks at the same time: the name of a signal that any of
        them has received, or None.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _received and world_size() == 1:
            raise KeyboardInterrupt
        _received.append(number)

    def agreed() -> str | None:
        number = max_over_ranks(max(_received, default=0))
        return signal.Signals(number).name if number else None

    _received.clear()
    previous: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other is interrupted
        previous = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield agreed
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
