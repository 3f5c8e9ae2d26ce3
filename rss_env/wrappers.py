"""Wrappers for libraries that expect what Gymnasium leaves open."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from rss_env.errors import InputError
from rss_env.segmentation_task import SegmentationTask


class InfosAtReset(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Give infos of a reset the keys, shapes and dtypes of those of a step, filled with NaN.

    No map has been scored then. Some libraries want all infos of an episode to be alike, such as
    Minari's `DataCollector(record_infos=True)`.
    """

    def __init__(self, env: gym.Env[Any, Any]):
        """Wrap a single environment of this package, or wrappers around one.

        Raises:
            InputError: If it is another environment.
        """
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        task = env.unwrapped
        if not isinstance(task, SegmentationTask):
            raise InputError(f"InfosAtReset is for environments of rss-env, got {task}")
        self._shapes = task.info_shapes

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """See `RSSEnv.reset`; the info holds NaN float32 arrays."""
        observation, info = self.env.reset(seed=seed, options=options)
        unknown = {name: np.full(s, np.nan, np.float32) for name, s in self._shapes.items()}
        return observation, {**unknown, **info}
