"""A short run, and the files of one, for the tests of what shows runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from PIL import Image

from rss_agents.train import main as train
from rss_agents.training.config import TrainConfig


def train_briefly(out: Path) -> None:
    """Train for four updates of two scales, evaluated twice."""
    train(
        [
            *("--image-size", "16", "--scales", "8", "2", "--num-images", "2"),
            *("--group-size", "3", "--updates", "4", "--eval-every", "2", "--out", str(out)),
        ]
    )


def write_run(out: Path) -> None:
    """Write what the page reads of a run that has ended after two updates."""
    out.mkdir(parents=True)
    options = json.dumps(dataclasses.asdict(TrainConfig(out)), default=str)
    (out / "config.json").write_text(options)
    rows = [{"update": n, "score_queries": 8 * n, "score": 0.25 * n} for n in (1, 2)]
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    progress = {"state": "complete", "update": 2, "updates": 2, "seconds": 1.5}
    (out / "progress.json").write_text(json.dumps(progress))
    Image.new("RGB", (8, 8)).save(out / "overlay.png")
