"""PPO on `Progressive`: a step draws one grid, by a policy that sees the image and the map so far.

The policy has no memory. An image's pixels get logits once; what is drawn adds to them, by a
convolution for each step, and a grid's cells have the mean probabilities of their pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.leaderboard.entries.learners import OfTraining
from rss_agents.algorithms.base import Learner, Progress
from rss_agents.algorithms.policy_gradients import BaselineLearner, clipped_objective
from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.algorithms.sampling import sample_maps
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.networks.segmentation_network import SegmentationNetwork, evaluating
from rss_env.action_maps import ActionMapGeometry, default_scales
from rss_env.errors import InputError
from rss_env.labels import VOID
from rss_env.progressive import ProgressiveTask
from rss_env.vector_env import RSSVectorEnv

_REACH = 5  # pixels: side of the convolutions of what is drawn


class ProgressivePolicy:
    """Probabilities of the classes of the next grid's cells."""

    def __init__(self, network: SegmentationNetwork, geometry: ActionMapGeometry):
        """Begin with a policy that does not look at what is drawn."""
        self.network, self.geometry, classes = network, geometry, geometry.num_classes
        self._drafts = [
            nn.Conv2d(classes, classes, _REACH, padding=_REACH // 2) for _ in geometry.scales
        ]
        for draft in self._drafts:
            nn.init.zeros_(draft.weight)
        # Parts of the network: what takes steps and is saved is that.
        network.drafts = nn.ModuleList(self._drafts)

    def logits_of(self, images: torch.Tensor) -> torch.Tensor:
        """Of the pixels (B, C, H, W) of images (B, H, W, 3) uint8, before anything is drawn."""
        logits, size = self.network(images), self.geometry.image_size
        return logits if logits.shape[2:] == size else F.interpolate(logits, size)

    def __call__(self, logits: torch.Tensor, maps: torch.Tensor, step: int) -> torch.Tensor:
        """Probabilities (N, C, cells) of the grid of a step.

        Args:
            logits: (B, C, H, W) of `logits_of`; N is a multiple of B, for the maps of each image.
            maps: (N, H, W) uint8, what is drawn.
            step: How many grids are drawn.
        """
        classes = torch.arange(self.geometry.num_classes, device=maps.device)
        drawn = (maps[:, None] == classes.view(1, -1, 1, 1)).to(logits.dtype)
        own = logits.repeat_interleave(len(maps) // len(logits), 0)
        pixels = (own + self._drafts[step](drawn)).softmax(1)
        return pool_cells(pixels, self.geometry.scales[step : step + 1]).clamp(min=1e-12)

    def answer(self, images: torch.Tensor) -> torch.Tensor:
        """The most likely classes of the last grid, after those of each before: (B, H, W) uint8."""
        logits = self.logits_of(images)
        maps = torch.full(images.shape[:3], VOID, dtype=torch.uint8, device=images.device)
        for step in range(len(self.geometry.scales)):
            cells = self(logits, maps, step).argmax(1).to(torch.uint8)
            maps = self.geometry.upsample(cells[:, None], step)[:, 0]
        return maps


class ProgressivePPOLearner(BaselineLearner):
    """Draws an episode of each image, and gives the loss of each step on them."""

    def __init__(self, policy: ProgressivePolicy, env: Any, config: Any, gamma: float, seed: int):
        """Bind as `BaselineLearner` does; rewards count `gamma` less with each grid before them."""
        super().__init__("ppo", policy.network, env, config, seed)
        self.policy, self._gamma = policy, gamma
        # What one cell does to a score, in deviations of it, falls with the root of their number.
        cells = torch.tensor(env.geometry.cells, dtype=torch.float32, device=env.device)
        self._entropies = self.entropy * (cells[0] / cells).sqrt()
        self._observations = env.observe()

    def losses(
        self, progress: Progress = 0.0
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """See `BaselineLearner.losses`."""
        env, steps = self.env, range(len(self.env.geometry.scales))
        images = self._observations["image"][:: env.group_size]
        drawings, cells, drawn, rewards = [], [], [], []
        with torch.no_grad():
            logits = self.policy.logits_of(images)
            for step in steps:
                drawings.append(self._observations["map"][..., 0])
                probabilities = self.policy(logits, drawings[-1], step)
                cells.append(sample_maps(probabilities, 1, self.draws)[:, 0])
                drawn.append(probabilities.gather(1, cells[-1][:, None].long()))
                action = F.pad(cells[-1], (0, max(env.geometry.cells) - cells[-1].shape[1]))
                self._observations, reward, *_ = env.step(action)
                rewards.append(reward)
        advantages, score = self.advantages_of(rewards), torch.stack(rewards).sum(0).mean()
        for _ in range(self.config.epochs):
            logits, gains, entropies = self.policy.logits_of(images), [], []
            for step in steps:
                policy = self.policy(logits, drawings[step], step)
                ratio = policy.gather(1, cells[step][:, None].long()) / drawn[step]
                gains.append(clipped_objective(ratio, advantages[step], self.config.clip))
                entropies.append(-(policy * policy.log()).sum(1).mean())
            entropy = torch.stack(entropies)
            loss = -(torch.stack(gains) + self._entropies * entropy).mean()
            yield loss, {"score": score, "entropy": entropy.detach().mean()}

    def advantages_of(self, rewards: list[torch.Tensor]) -> list[torch.Tensor]:
        """Advantages (N, 1) of each step: what is earned from it on, beside an image's other maps.

        Args:
            rewards: (N,) of each step.
        """
        returns, advantages = torch.zeros_like(rewards[0]), []
        for reward, cells in zip(reversed(rewards), reversed(self.env.geometry.cells), strict=True):
            returns = reward + self._gamma * returns
            grouped = returns.view(-1, self.env.group_size)
            advantages.append(self.advantages(grouped, cells).view(-1, 1))
        return advantages[::-1]


class ProgressivePPO(OfTraining):
    """PPO on `Progressive` (`--level Progressive`); settings are options of `rss-train`, and gamma.

    `baseline.entropy` is that of the first grid, and falls with the root of the number of cells.
    With gamma 0 a grid is paid for its own gain alone: what later grids make of it says little
    beside what they do themselves.
    """

    variant = "ppo"
    defaults: ClassVar[Mapping[str, Any]] = {"baseline.entropy": 0.03}

    def __init__(
        self,
        num_classes: int,
        image_size: tuple[int, int],
        seed: int,
        gamma: float = 0.0,
        **settings: Any,
    ):
        """See `OfTraining`."""
        super().__init__(num_classes, image_size, seed, **settings)
        scales = self.config.scales or default_scales(image_size)
        geometry = ActionMapGeometry(image_size, scales, num_classes)
        self.policy, self._gamma = ProgressivePolicy(self.network, geometry), gamma

    def learner(self, env: RSSVectorEnv, plan: QueryPlan | None = None) -> Learner:
        """See `OfTraining.learner`."""
        if not (isinstance(env, ProgressiveTask) and env.shows_scores):
            raise InputError(
                "ppo-progressive learns from a score of each grid: --told scales "
                "--level Progressive"
            )
        baseline, seed = self.config.baseline, self.config.seed
        return ProgressivePPOLearner(self.policy, env, baseline, self._gamma, seed)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """See `Algorithm.predict`."""
        with evaluating(self.network), torch.no_grad():
            return self.policy.answer(images)
