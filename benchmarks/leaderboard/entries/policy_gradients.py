"""Plain policy gradients at their best for maps: one reward a map, and a ratio for each cell.

Maps of an image are compared with one another, and the entropy of cells keeps them apart. Cells are
the largest, of which one reward says most (benchmarks/NOTES.md); `--settings scales=[1]` is
for pixels. Settings are options of `rss-train`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.leaderboard.entries.learners import OfTraining
from rss_agents.algorithms.base import Learner
from rss_agents.algorithms.policy_gradients import BaselineLearner
from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.losses.advantages import synchronised_deviation
from rss_env.action_maps import default_scales
from rss_env.vector_env import RSSVectorEnv

_CRITIC_RATE = 1e-3
_ENTROPY = {"baseline.entropy": 0.1}  # beside advantages in deviations


class LargeCells(OfTraining):
    """An algorithm of `rss-train` that acts at the coarsest scale, unless told otherwise."""

    def __init__(self, num_classes: int, image_size: tuple[int, int], seed: int, **settings: Any):
        """See `OfTraining`."""
        settings = {"scales": [*default_scales(image_size)[:1]], **settings}
        super().__init__(num_classes, image_size, seed, **settings)


class PPO(LargeCells):
    """PPO: clipped steps; the mean of an image's maps stands for the critic."""

    variant = "ppo"
    defaults: ClassVar[Mapping[str, Any]] = _ENTROPY


class GRPO(LargeCells):
    """GRPO: the same, with advantages in deviations of the image's maps."""

    variant = "grpo"
    defaults: ClassVar[Mapping[str, Any]] = _ENTROPY


class RLOO(LargeCells):
    """RLOO: one step a batch, against the mean of the image's other maps."""

    variant = "rloo"


class A2C(LargeCells):
    """A2C: one step a batch, against a critic of images."""

    variant = "rloo"
    defaults: ClassVar[Mapping[str, Any]] = _ENTROPY

    def learner(self, env: RSSVectorEnv, plan: QueryPlan | None = None) -> Learner:
        """See `OfTraining.learner`."""
        return ActorCriticLearner(self.network, env, self.config.baseline, self.config.seed)


class ActorCriticLearner(BaselineLearner):
    """A policy gradient whose baseline is learned: the expected reward of an image's maps."""

    def __init__(self, network: Any, env: RSSVectorEnv, config: Any, seed: int):
        """Bind as `BaselineLearner` does; one step is taken of a batch."""
        super().__init__("rloo", network, env, config, seed)
        self.critic = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 1),
        ).to(env.device)
        self._optimizer = torch.optim.Adam(self.critic.parameters(), _CRITIC_RATE)

    def advantages(self, scores: torch.Tensor, cells: int) -> torch.Tensor:
        """Scores (B, K) less the critic's, in deviations of the batch; the critic takes a step."""
        images = self._last["images"].permute(0, 3, 1, 2).float() / 255.0
        values = self.critic(images)  # (B, 1)
        self._optimizer.zero_grad()
        F.mse_loss(values, scores.mean(1, keepdim=True)).backward()
        self._optimizer.step()
        centred = scores - values.detach()
        return centred / synchronised_deviation(centred)
