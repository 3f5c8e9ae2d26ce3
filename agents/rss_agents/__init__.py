"""Agents that learn segmentation from scores, their labelled references, and the command line.

From Python: `rss_agents.api`, whose names load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import rss_env  # noqa: F401  (before other libraries: it says where their caches may lie)

if TYPE_CHECKING:
    from rss_agents import api
    from rss_agents.api import TrainedNetwork, TrainedRun, TrainingEvent, load
    from rss_agents.command_line import DataConfig
    from rss_agents.training.config import TrainConfig

_HOME = {
    "DataConfig": "rss_agents.command_line",
    "TrainConfig": "rss_agents.training.config",
    "TrainedNetwork": "rss_agents.api",
    "TrainedRun": "rss_agents.api",
    "TrainingEvent": "rss_agents.api",
    "load": "rss_agents.api",
}

# `train` and `predict` are modules here, those of the commands: the functions are in `api`.
__all__ = [
    "DataConfig",
    "TrainConfig",
    "TrainedNetwork",
    "TrainedRun",
    "TrainingEvent",
    "api",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "api":
        return importlib.import_module("rss_agents.api")
    if name not in _HOME:
        raise AttributeError(f"module 'rss_agents' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
