"""The options of the references: plain policy gradients, and training with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rss_env.errors import InputError, check_value

# Algorithms of the cross-entropy, in which some pixels may count more.
WEIGHING = ("psl", "psl-metric", "psl-dice")


@dataclass(frozen=True)
class BaselineConfig:
    """The hyper-parameters of the plain policy gradients (reinforce, rloo, grpo, ppo)."""

    entropy: float | None = None
    """Coefficient of a cell's entropy. reinforce and rloo: in reward per cell, None: 0.5; grpo and
    ppo: in deviations of the score, None: 0.05."""
    exploration: float = 0.0
    """Share of uniformly random classes."""
    epochs: int = 4
    """ppo, grpo: steps on each batch."""
    clip: float = 0.2
    """ppo, grpo: how far a cell's probability may move from the one it was drawn with, as a ratio
    less one."""
    decay: float = 0.9
    """reinforce: decay, per batch, of the running mean of the score that is its baseline."""

    def check(self) -> None:
        """Refuse values that make no sense, with an `InputError`."""
        if self.entropy is not None and not 0 <= self.entropy < float("inf"):
            raise InputError(f"baseline entropy must be at least 0, got {self.entropy}")
        check_value(
            0 <= self.exploration < 1, "baseline exploration", "in 0..1 (below 1)", self.exploration
        )
        check_value(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        check_value(0 < self.clip < 1, "clip", "between 0 and 1", self.clip)
        check_value(0 <= self.decay < 1, "baseline decay", "in 0..1 (below 1)", self.decay)


@dataclass(frozen=True)
class SupervisedConfig:
    """The hyper-parameters of the references with labels."""

    tag_sharpness: float = 5.0
    """wsss-cam: sharpness of the soft maximum over pixels."""
    class_weights: tuple[float, ...] | Literal["inverse", "root"] | None = None
    """Cross-entropy: weight of each class's pixels; inverse: of their share of the training
    pixels; root: its square root. None: alike."""
    focal_gamma: float = 0.0
    """Cross-entropy: focus on pixels that are wrong (focal loss), 2 in its source; 0: none."""

    @property
    def weighs_pixels(self) -> bool:
        """Tell whether the cross-entropy counts some pixels more than others."""
        return self.class_weights is not None or self.focal_gamma != 0

    def check(self) -> None:
        """Refuse values that make no loss, with an `InputError`."""
        gamma, weights = self.focal_gamma, self.class_weights
        check_value(0 <= gamma < float("inf"), "focal_gamma", "finite and at least 0", gamma)
        if isinstance(weights, tuple):
            legal = all(0 <= w < float("inf") for w in weights) and any(weights)
            check_value(legal, "class_weights", "finite, at least 0 and not all 0", weights)
        check_value(
            0 < self.tag_sharpness < float("inf"), "tag_sharpness", "positive", self.tag_sharpness
        )
