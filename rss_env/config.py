"""The arguments of environments, each written once: for Gymnasium, the commands and SB3."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(kw_only=True)
class TaskConfig:
    """What is seen and how it is scored, wherever maps are scored."""

    split: str | None = None
    """Training split: a name or a list file."""
    image_size: tuple[int, ...] | None = None
    """One side, or height and width, in pixels."""
    scales: tuple[int, ...] | None = None
    """Cell sizes in pixels, coarse to fine."""
    metric: str = "miou"
    """What the score measures: miou, pixel_accuracy, mean_accuracy or dice."""
    feedback: str = "exact"
    """exact, rating[:stars], noisy[:deviation], ranking."""
    scorer: str | None = None
    """Scores maps in place of labels: module:function."""
    horizontal_flip: bool = False
    """Mirror training images at random."""
    zoom: tuple[float, float] | None = None
    """Enlarge training images at random, by a factor between these two."""
    colour_jitter: float = 0.0
    """Change brightness, contrast and saturation of training images by up to this share."""
    group_size: int = 1
    """Maps scored per image and scale."""

    @property
    def task_arguments(self) -> dict[str, Any]:
        """These arguments by name, for an environment."""
        return {field.name: getattr(self, field.name) for field in fields(TaskConfig)}
