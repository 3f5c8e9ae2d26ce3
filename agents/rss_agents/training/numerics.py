"""The stop of a training at the first number that is none, with what it takes to see why."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from rss_agents.distributed import rank
from rss_agents.files import write_tensors
from rss_agents.training.run import Run, values_of
from rss_agents.training.run_files import REPRODUCTION


class NotFiniteError(RuntimeError):
    """A loss or a gradient is infinite or not a number."""


def check_finite(
    loss: float, gradient_norm: float | None, update: int, run: Run, folder: Path
) -> None:
    """Stop at a loss, or a gradient if its norm is known, that is no number.

    What it takes to see why is written to `not-finite.safetensors`: the batch and the network.

    Raises:
        NotFiniteError: If one is not finite, naming the update and the images.
    """
    if math.isfinite(loss) and math.isfinite(gradient_norm or 0.0):
        return
    batch, network = run.last_batch(), run.network
    bad = [name for name, value in batch.items() if value.is_floating_point() and not _all(value)]
    bad += [name for name, value in network.named_parameters() if not _all(value)]
    path = folder / (REPRODUCTION if rank() == 0 else f"rank{rank()}-{REPRODUCTION}")
    folder.mkdir(parents=True, exist_ok=True)  # on another machine it may not be there
    tensors = {f"batch.{name}": value for name, value in batch.items()}
    tensors |= {f"network.{name}": value for name, value in values_of(network).items()}
    write_tensors(path, tensors, {"update": str(update), "loss": str(loss)})
    where = f", first in {', '.join(bad[:5])}" if bad else ""
    images = f"images {batch['index'].tolist()}; " if "index" in batch else ""
    norm = "" if gradient_norm is None else f", gradient norm {gradient_norm}"
    written = "batch and network are" if batch else "the network is"
    raise NotFiniteError(f"update {update}: loss {loss}{norm}{where}; {images}{written} in {path}")


def _all(values: torch.Tensor) -> bool:
    return bool(torch.isfinite(values).all())
