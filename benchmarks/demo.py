"""Does a network learn to segment from scores of its output alone? A few minutes on 2 cores.

    python -m benchmarks.demo --out runs/demo

Trains the same network twice on the same generated images: once told one score per map (`rss`),
once told every pixel's class (`psl`). Prints both beside an untrained network and the answer
"always the most frequent class".
"""

from __future__ import annotations

import dataclasses
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from rss_agents.algorithms.names import Algorithm
from rss_agents.networks.evaluation import SplitMetrics, evaluate, evaluate_majority_class
from rss_agents.recipes import shapes
from rss_agents.train import train
from rss_agents.training.logging import versions
from rss_agents.training.setup import open_run
from rss_env.scenes import load_scenes


@dataclass
class DemoConfig:
    """Compare learning from scores with learning from labels on the embedded Shapes scenes."""

    out: Path = Path("runs/demo")
    """Folder for both runs."""
    updates: int = 600
    """Updates of each run."""
    seed: int = 0
    """Of weights, images and maps."""


def reference_rows(config: DemoConfig) -> list[tuple[str, SplitMetrics]]:
    """Metrics of the most frequent class and of the untrained network."""
    recipe = shapes(config.out / "psl", "psl", config.seed, config.updates)
    run = open_run(dataclasses.replace(recipe, group_size=1))
    assert run.validation is not None  # it is the first process's
    training = load_scenes(recipe.data.open(recipe.split), run.validation.image_size)
    return [
        ("majority class", evaluate_majority_class(training, run.validation)),
        ("untrained network", evaluate(run.network, run.validation)),
    ]


def main() -> None:
    """Train, compare, print the table."""
    config = tyro.cli(DemoConfig)
    rows = [(name, m.miou, m.pixel_accuracy, 0, 0.0) for name, m in reference_rows(config)]
    algorithms: dict[Algorithm, str] = {"psl": "psl (labels)", "rss": "rss (one score per map)"}
    for algo, name in algorithms.items():
        result = train(shapes(config.out / algo, algo, config.seed, config.updates))
        rows.append(
            (
                name,
                result["miou"],
                result["pixel_accuracy"],
                result["score_queries"],
                result["seconds"],
            )
        )
    ceiling = rows[-2][1]
    print(
        f"\nShapes, 64x64, validation split, {config.updates} updates, seed {config.seed} "
        f"(one seed: a demonstration, not a result)\n"
    )
    print(f"{'':26}{'mIoU':>8}{'of psl':>9}{'accuracy':>10}{'queries':>10}{'seconds':>9}")
    for name, miou, accuracy, queries, seconds in rows:
        ratio = miou / ceiling
        print(f"{name:26}{miou:8.3f}{ratio:9.2f}{accuracy:10.3f}{queries:10,}{seconds:9.0f}")
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads")
    print(known)
    print(f"pictures and curves: {config.out}/{{psl,rss}}/{{overlay,curve}}.png")


if __name__ == "__main__":
    main()
