"""Answers that nobody has to learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from rss_env.scenes import load_scenes


class Majority(nn.Module):
    """The most frequent class of the training labels, everywhere."""

    environment: ClassVar[Mapping[str, Any]] = {}
    answer: torch.Tensor

    def __init__(self, num_classes: int, image_size: tuple[int, int], seed: int):
        """Answer class 0 at first."""
        super().__init__()
        self.register_buffer("answer", torch.zeros((), dtype=torch.int64))

    def learn(self, env: Any, budget: int) -> None:
        """See `Algorithm.learn`: count labels, and ask for no score."""
        task = env.unwrapped
        scenes = load_scenes(task.dataset, task.image_size)
        self.answer.fill_(int(scenes.class_frequencies().argmax()))

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """See `Algorithm.predict`."""
        return self.answer.expand(images.shape[:3])


class Random(nn.Module):
    """A class for each pixel, drawn uniformly."""

    environment: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, num_classes: int, image_size: tuple[int, int], seed: int):
        """Seed the draws."""
        super().__init__()
        self.num_classes = num_classes
        self.generator = torch.Generator().manual_seed(seed)

    def learn(self, env: Any, budget: int) -> None:
        """See `Algorithm.learn`: nothing."""

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """See `Algorithm.predict`."""
        return torch.randint(self.num_classes, images.shape[:3], generator=self.generator)
