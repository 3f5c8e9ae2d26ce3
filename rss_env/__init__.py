"""Semantic segmentation as a reinforcement-learning environment.

Importing the package registers the `RSS/...` ids with Gymnasium, whichever of the two is imported
first. The classes behind them load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rss_env.cache_folders import redirect_caches
from rss_env.errors import ActionError, DatasetError, InputError
from rss_env.registration import environment_ids, register_on_import
from rss_env.version import __version__ as __version__

redirect_caches()  # before a library is imported that would look for the home of its caches

if TYPE_CHECKING:
    from rss_env.action_maps import ActionMapGeometry
    from rss_env.feedback import Scorer, ScoringContext
    from rss_env.single_env import RSSEnv
    from rss_env.vector_env import RSSVectorEnv

_HOME = {
    "ActionMapGeometry": "rss_env.action_maps",
    "RSSEnv": "rss_env.single_env",
    "RSSVectorEnv": "rss_env.vector_env",
    "Scorer": "rss_env.feedback",
    "ScoringContext": "rss_env.feedback",
}

__all__ = [
    "ActionError",
    "ActionMapGeometry",
    "DatasetError",
    "InputError",
    "RSSEnv",
    "RSSVectorEnv",
    "Scorer",
    "ScoringContext",
    "environment_ids",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rss_env' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


register_on_import()
