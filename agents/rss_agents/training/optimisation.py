"""Steps of a training: the optimiser, the schedule of its learning rate, gradients of batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from rss_agents.algorithms.base import Learner, Progress
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.training.config import TrainConfig
from rss_agents.training.device_adamw import DeviceAdamW
from rss_env.errors import InputError

Check = Callable[[torch.Tensor | float, torch.Tensor | None], None]
_ENCODERS = ("encoder", "backbone", "down")  # what networks call it; the last is the tiny U-Net's


def build_optimizer(
    config: TrainConfig, network: SegmentationNetwork
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, and a one-cycle schedule of its learning rate; on CUDA one that can be captured.

    Raises:
        InputError: If the encoder is to have a rate of its own, and there is none.
    """
    rate = config.learning_rate
    groups: Any = network.parameters()
    rates: Any = rate
    if config.encoder_rate != 1:
        encoder = list(_encoder_of(network, config.network).parameters())
        inside = {id(parameter) for parameter in encoder}
        others = [p for p in network.parameters() if id(p) not in inside]
        groups = [{"params": others}, {"params": encoder, "lr": rate * config.encoder_rate}]
        rates = [rate, rate * config.encoder_rate]
    device, decay = network.mean.device, config.weight_decay
    optimizer: torch.optim.Optimizer
    if device.type == "cuda":
        optimizer = DeviceAdamW(groups, device, lr=rate, weight_decay=decay)
    else:
        optimizer = torch.optim.AdamW(groups, rate, weight_decay=decay)
    # Two steps more than needed: the cycle has to be longer than its two phases.
    steps, rise = config.updates + 2, config.warm_up
    if config.warm_up_updates is not None:
        rise = (config.warm_up_updates + 1) / steps if config.warm_up_updates else 0.0
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=steps, pct_start=rise
    )
    return optimizer, schedule


def _encoder_of(network: SegmentationNetwork, name: str) -> nn.Module:
    for part in _ENCODERS:
        encoder = getattr(network.body, part, None)
        if isinstance(encoder, nn.Module):
            return encoder
    raise InputError(
        f"encoder_rate needs a network with an encoder: {name} has no part called "
        f"{' or '.join(_ENCODERS[:-1])}"
    )


def update_once(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    *,
    clip_gradient: float | None = None,
    check: Check | None = None,
    batches: int = 1,
) -> dict[str, torch.Tensor]:
    """Learn from new batches, and return scalar tensors to log.

    Args:
        learner: Where losses come from.
        optimizer: Takes the steps.
        progress: Share of the training done, 0..1.
        clip_gradient: Largest norm of a gradient; None: any.
        check: Takes each loss and norm before the step is made, and may raise.
        batches: How many batches' gradients are averaged for a step.
    """
    logged: dict[str, torch.Tensor] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    largest = math.inf if clip_gradient is None else clip_gradient
    streams = [learner.losses(progress) for _ in range(batches)]
    while True:
        losses: list[torch.Tensor] = []
        metrics: list[dict[str, torch.Tensor]] = []
        for stream in streams:
            loss, about = next(stream, (None, None))
            if about is None:
                return logged
            metrics.append(about)
            if loss is None:
                continue
            if not losses:
                optimizer.zero_grad(set_to_none=True)
            (loss if batches == 1 else loss / batches).backward()
            losses.append(loss.detach())
        logged = {**logged, **_means(metrics)}
        if not losses:
            continue
        norm = nn.utils.clip_grad_norm_(parameters, largest)
        loss = _mean(losses)
        if check is not None:
            check(loss, norm)
        optimizer.step()
        logged = {"loss": loss, "gradient_norm": norm, **_means(metrics)}


def _mean(values: list[torch.Tensor]) -> torch.Tensor:
    return values[0] if len(values) == 1 else torch.stack(values).mean()


def _means(metrics: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Metrics of all batches from those of each; a metric of some batches is of these alone."""
    names = dict.fromkeys(name for about in metrics for name in about)
    return {name: _mean([about[name] for about in metrics if name in about]) for name in names}
