"""Print the metrics of a trained network on a split, as one line of JSON: `rss-eval`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from rss_agents.command_line import DataConfig, run_command
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.networks.evaluation import evaluate, evaluate_full_resolution
from rss_agents.networks.tiling import TileConfig
from rss_env.arguments import check_device
from rss_env.errors import InputError
from rss_env.scenes import load_scenes


@dataclass
class EvalConfig:
    """Print the metrics of a trained network on a split, as one line of JSON."""

    checkpoint: Path
    """Folder that rss-train wrote."""
    data: tyro.conf.OmitArgPrefixes[DataConfig]
    split: str = "val"
    """Name of a split, or a list file."""
    full_resolution: bool = False
    """Compare at each label's own size instead of the size trained at."""
    windows: tyro.conf.OmitArgPrefixes[TileConfig] = field(default_factory=TileConfig)
    own_network: str | None = None
    """module:function that built the network of the checkpoint, if it is one of your own."""
    device: str = "cpu"
    """Device to run on: cpu, cuda, cuda:1, ..."""


def evaluate_checkpoint(config: EvalConfig) -> dict[str, Any]:
    """The metrics that `rss-eval` prints.

    Raises:
        InputError: If the checkpoint, the data, the windows or the device cannot be used.
    """
    config.windows.check()
    if config.windows.tiles and not config.full_resolution:
        raise InputError("--tiles looks at images as large as they are: give --full-resolution too")
    device = check_device(config.device)
    network, description = load_checkpoint(config.checkpoint, device, config.own_network)
    dataset = config.data.open(config.split)
    if not dataset.has_labels:
        raise InputError("the data has no labels to evaluate against; give --labels")
    if dataset.num_classes != len(description.class_names):
        raise InputError(
            f"the checkpoint has {len(description.class_names)} classes, "
            f"{config.data.env} has {dataset.num_classes}"
        )
    if config.full_resolution:
        metrics = evaluate_full_resolution(
            network,
            dataset,
            description.image_size,
            device,
            config.windows,
            description.resize,
        )
    else:
        size, resize = description.image_size, description.resize
        metrics = evaluate(network, load_scenes(dataset, size, device, resize))
    return {
        "checkpoint": str(config.checkpoint),
        "env": config.data.env,
        "split": config.split,
        "images": len(dataset),
        **metrics.report(dataset.class_names),
    }


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-eval`."""
    run_command(
        "rss-eval",
        EvalConfig,
        lambda config: print(json.dumps(evaluate_checkpoint(config))),
        arguments,
    )


if __name__ == "__main__":
    main()
