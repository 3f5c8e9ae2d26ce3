"""Questions to a person, and the lines of a file of ratings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from rss_agents.ratings.store import Question
from rss_env.datasets.base import voc_palette


def question(seed: int = 0, images: int = 2, maps: int = 3) -> Question:
    random = np.random.default_rng(seed)
    return Question(
        random.integers(0, 256, (images, 8, 6, 3), np.uint8),
        random.integers(0, 4, (images, maps, 8, 6), np.uint8),
        5,
        ("a", "b", "c", "d"),
        voc_palette(4),
    )


def rating_lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "ratings.jsonl").read_text().splitlines()]
