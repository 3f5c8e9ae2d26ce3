"""The agent that learns from scores: our reading of RSS, with PSR, PSD and SyncAN switchable.

One update: K multi-scale action maps are drawn for each image of a batch, the environment scores
them, and every scale adds a loss term of its own (PSR, progressive scale rewards). The network
sees images and scores, never a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from agents.objectives import (
    action_probabilities,
    policy_gradient,
    relative_regression,
    sample_maps,
)
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv


@dataclass(frozen=True)
class RSSConfig:
    """How the agent learns; each part can be switched off for an ablation."""

    objective: Literal["relative_regression", "policy_gradient"] = "relative_regression"
    """What is made of the scores."""
    psr: bool = True
    """Act and be scored at several scales; otherwise at the finest only."""
    psd: bool = True
    """Compare maps in pairs, cell by cell where they differ."""
    syncan: bool = True
    """Normalise by the deviation over the whole batch, on all ranks."""
    temperature: float | None = None
    """Of the policy's softmax; None for the objective's own: 0.05 (logits are rewards), or 1."""
    exploration: float = 0.1
    """Share of uniformly random classes."""
    entropy: float = 0.5
    """Policy gradient: coefficient of the entropy, in reward per cell."""

    @property
    def policy_temperature(self) -> float:
        """The temperature in force."""
        if self.temperature is not None:
            return self.temperature
        return 0.05 if self.objective == "relative_regression" else 1.0

    def check(self) -> None:
        """Refuse values that make no policy.

        Raises:
            InputError: Naming the field, its value and the valid range.
        """
        if not self.policy_temperature > 0:
            raise InputError(f"temperature must be positive, got {self.temperature}")
        if not 0 <= self.exploration < 1:
            raise InputError(f"exploration must be in 0..1 (below 1), got {self.exploration}")
        if not self.entropy >= 0:
            raise InputError(f"entropy must be at least 0, got {self.entropy}")


def pool_logits(logits: torch.Tensor, scales: Sequence[int]) -> list[torch.Tensor]:
    """Logits of every scale's cells: the mean over each cell's pixels.

    Args:
        logits: (B, C, H, W).
        scales: Cell sizes, coarse to fine.

    Returns:
        (B, C, cells_s) for each scale.
    """
    pooled: list[torch.Tensor] = []
    finer, finer_scale = logits, 1
    for scale in reversed(scales):  # fine to coarse: each from the one before where it divides
        if scale % finer_scale:
            finer, finer_scale = logits, 1
        finer = F.avg_pool2d(finer, scale // finer_scale) if scale != finer_scale else finer
        finer_scale = scale
        pooled.insert(0, finer.flatten(2))
    return pooled


class RSSLearner:
    """Draws maps, has them scored, and turns the scores into a loss."""

    def __init__(self, network: nn.Module, env: RSSVectorEnv, config: RSSConfig, seed: int):
        """Bind a network to an environment and reset the latter.

        Args:
            network: uint8 (B, H, W, 3) to logits (B, C, H, W).
            env: With `array="torch"`, SAME_STEP autoreset and `group_size` K > 1.
            config: How to learn.
            seed: Of the images and of the maps drawn.

        Raises:
            InputError: If the environment or the configuration does not fit.
        """
        config.check()
        if env.group_size < 2:
            raise InputError("learning from scores compares maps: group_size must be at least 2")
        self.network, self.env, self.config = network, env, config
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.observations, _ = env.reset(seed=seed)
        self.queries_per_update = env.num_envs * len(env.geometry.scales)

    def loss(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One batch: act, be scored, and say what to minimise.

        Returns:
            The loss, and tensors to log: `score` (mean reward) and the mean score of each scale.
        """
        config, geometry, members = self.config, self.env.geometry, self.env.group_size
        images = self.observations[::members]  # a group's images are alike
        logits = pool_logits(self.network(images), geometry.scales)
        with torch.no_grad():
            maps = [
                sample_maps(
                    action_probabilities(part, config.policy_temperature, config.exploration),
                    members,
                    self.generator,
                )
                for part in logits
            ]
        actions = torch.cat(maps, -1).flatten(0, 1)
        self.observations, rewards, _, _, infos = self.env.step(actions)
        told = infos["final_info"]
        if "pixel_rewards" in told:
            per_scale = geometry.split(told["pixel_rewards"].unflatten(0, (-1, members)))
        else:
            per_scale = list(told["scale_scores"].unflatten(0, (-1, members)).unbind(-1))
        terms = [self._scale_loss(*part) for part in zip(logits, maps, per_scale, strict=True)]
        metrics = {"score": rewards.mean()}
        for scale, scores in zip(geometry.scales, per_scale, strict=True):
            metrics[f"score_scale_{scale}"] = scores.mean()
        return torch.stack(terms).mean(), metrics

    def _scale_loss(
        self, logits: torch.Tensor, maps: torch.Tensor, scores: torch.Tensor
    ) -> torch.Tensor:
        config = self.config
        if config.objective == "relative_regression":
            return relative_regression(logits, maps, scores, psd=config.psd, syncan=config.syncan)
        return policy_gradient(
            logits,
            maps,
            scores,
            temperature=config.policy_temperature,
            exploration=config.exploration,
            entropy=config.entropy,
            psd=config.psd,
            syncan=config.syncan,
        )
