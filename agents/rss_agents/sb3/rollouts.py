"""A rollout buffer for one-step episodes whose images are answered several times."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from rss_agents.losses.advantages import leave_one_out
from rss_env.errors import InputError


class MapRolloutBuffer(RolloutBuffer):
    """Keeps a class of a cell in one byte, and compares the maps of an image with one another.

    With groups of more than one map, the baseline of a map is the mean reward of its image's other
    maps instead of the critic's value; the critic still learns the rewards.

    Attributes:
        group_size: K, as the environment's.
    """

    def __init__(self, *arguments: Any, group_size: int = 1, **options: Any):
        """Take SB3's arguments, and K: neighbouring sub-environments of a group share an image.

        Raises:
            InputError: If the sub-environments do not divide into groups.
        """
        self.group_size = group_size
        super().__init__(*arguments, **options)
        if group_size < 1 or self.n_envs % group_size:
            raise InputError(
                f"group_size must divide the {self.n_envs} sub-environments, got {group_size}"
            )

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self.actions = np.zeros(self.actions.shape, np.uint8)  # classes: at most 255

    def compute_returns_and_advantage(
        self, last_values: torch.Tensor, dones: npt.NDArray[np.bool_]
    ) -> None:
        """Fill in `returns` and `advantages`, (steps, N)."""
        super().compute_returns_and_advantage(last_values, dones)
        if self.group_size > 1:
            groups = torch.from_numpy(self.rewards).unflatten(1, (-1, self.group_size))
            self.returns = self.rewards.copy()
            self.advantages = leave_one_out(groups.flatten(0, 1)).view(self.rewards.shape).numpy()
