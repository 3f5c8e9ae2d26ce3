"""A short run, for the tests of what shows runs."""

from __future__ import annotations

from pathlib import Path

from rss_agents.train import main as train


def train_briefly(out: Path) -> None:
    """Train for four updates of two scales, evaluated twice."""
    train(
        [
            *("--image-size", "16", "--scales", "8", "2", "--num-images", "2"),
            *("--group-size", "3", "--updates", "4", "--eval-every", "2", "--out", str(out)),
        ]
    )
