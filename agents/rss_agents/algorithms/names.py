"""The names of the algorithms."""

from __future__ import annotations

from typing import Literal

Algorithm = Literal[
    "rss",
    "psl",
    "psl-metric",
    "psl-dice",
    "psl-multiscale",
    "wsss-cam",
    "reinforce",
    "rloo",
    "grpo",
    "ppo",
    "sb3-ppo",
    "sb3-a2c",
]
