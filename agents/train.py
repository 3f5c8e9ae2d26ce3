"""Train a segmentation network from scores, or from labels for comparison: `rss-train`.

Everything is opened and checked before the output folder is made, so a bad argument leaves nothing
behind. Ctrl-C ends the run after the current update, with a usable checkpoint. Under `torchrun`
the processes share out the images of every update, and the first one writes the folder.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch

from agents.checkpoint import FILE_NAME
from agents.command_line import run_command
from agents.distributed import mean_over_ranks, rank, world_size
from agents.learner import Learner
from agents.processes import (
    ProcessLostError,
    distribute,
    from_first_rank,
    joined_processes,
    stop_signal,
    succeed_together,
)
from agents.run_folder import RunFolder
from agents.sb3 import require_sb3
from agents.sb3.config import ALGORITHMS as SB3_ALGORITHMS
from agents.train_config import TrainConfig
from agents.training_run import open_run


def update_once(
    learner: Learner, optimizer: torch.optim.Optimizer, progress: float
) -> dict[str, torch.Tensor]:
    """Learn from a new batch, and give scalar tensors to log."""
    logged: dict[str, torch.Tensor] = {}
    for loss, metrics in learner.losses(progress):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        logged = {"loss": loss.detach(), **metrics}
    return logged


def _mean_metrics(metrics: dict[str, torch.Tensor]) -> dict[str, float]:
    """Metrics of the whole batch from those of each rank's part; to be called on all ranks."""
    values = torch.stack([value.detach().float() for value in metrics.values()])
    return dict(zip(metrics, mean_over_ranks(values).tolist(), strict=True))


def _train(config: TrainConfig) -> dict[str, Any] | str:
    """The result of a run, or the name of the signal that ended it before."""
    run = succeed_together(lambda: open_run(config))
    run.learner.network = distribute(run.network)
    optimizer = torch.optim.AdamW(
        run.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    # Two steps more than needed: the cycle has to be longer than its two phases.
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.updates + 2
    )
    folder = None
    if run.validation is not None:
        queries = run.learner.queries_per_update * world_size()
        folder = RunFolder(config, run.network, run.description, run.validation, queries)
    log_every = max(1, config.eval_every // 10)
    update, stopped = 0, None
    with stop_signal() as stop_asked_for:
        while update < config.updates and not (stopped := stop_asked_for()):
            metrics = update_once(run.learner, optimizer, update / config.updates)
            schedule.step()
            update += 1
            if folder is not None:
                folder.count()
            validates = update % config.eval_every == 0 or update == config.updates
            if not (validates or update % log_every == 0):
                continue
            values = _mean_metrics(metrics)
            values["learning_rate"] = float(schedule.get_last_lr()[0])
            if folder is not None:  # the other processes wait where they need this one again
                measured = folder.validate() if validates else {}
                folder.add(update, values | measured)
        if stopped and folder is not None:
            folder.save()
    outcome: dict[str, Any] | str | None = None
    if folder is not None:
        folder.close()
        outcome = stopped or folder.write_result(update)
    if stopped and folder is not None:
        folder.say_stopped(stopped, update)
    return from_first_rank(outcome)


def train(config: TrainConfig) -> dict[str, Any]:
    """Run a training and write its folder.

    Returns:
        The content of `result.json`.

    Raises:
        InputError: If anything in the configuration is invalid; nothing has been written.
        ProcessLostError: If another process of the training has ended.
    """
    if config.algo in SB3_ALGORITHMS:
        require_sb3()
        from agents.sb3.training import train_with_sb3

        return train_with_sb3(config)
    with joined_processes(config.device):
        outcome = _train(config)
    if isinstance(outcome, str):
        sys.exit(130)
    return outcome


def _train_and_print(config: TrainConfig) -> None:
    try:
        with joined_processes(config.device):
            result = train(config)
            if rank() == 0:
                print(json.dumps(result))
    except ProcessLostError as error:
        checkpoint = config.out / FILE_NAME
        left = "the last checkpoint is in" if checkpoint.exists() else "no checkpoint is yet in"
        sys.stderr.write(f"\nrss-train: error: {error}; {left} {config.out}\n")
        sys.exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-train`."""
    run_command("rss-train", TrainConfig, _train_and_print, arguments)


if __name__ == "__main__":
    main()
