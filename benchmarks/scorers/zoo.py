"""The scorers of the zoo, each a class that is built for a suite and called like any scorer.

| kind | what it scores |
|---|---|
| `miou` | mIoU with the hidden label |
| `dice_squared` | the square of the mean Dice: a monotone warp |
| `boundary_f` | boundary F-score, within two pixels |
| `accuracy_boundary` | half mean accuracy of the classes, half boundary F-score |
| `teacher` | share of the pixels on which a frozen network, trained on labels, agrees |
| `person` | 0 to 5 stars of somebody who is strict, unsteady, and rates mIoU |
| `preference` | which of two maps is better, 10 % of the answers wrong; with `--feedback ranking` |
| `judge` | what a small network learned of mIoU from maps of a quarter of the images |
| `rule` | no label: few parts, areas that classes may have, borders where the image has edges |
"""

from __future__ import annotations

import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.learning.suites import Suite
from benchmarks.scorers.hidden_labels import HiddenLabels
from benchmarks.scorers.pixel_counts import confusion, count_by_class, outline_f_score, outlines
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.quality.examples import Examples
from rss_agents.quality.fitting import fit_judge
from rss_agents.quality.fitting_config import FittingConfig
from rss_agents.quality.learned_judge import JudgeScorer
from rss_env import counter_random
from rss_env.errors import InputError
from rss_env.feedback import Scorer
from rss_env.labels import VOID
from rss_env.rewards import score_counts

TEACHERS = "RSS_TEACHERS"  # environment variable: folder with a checkpoint folder for each suite
_PERSON, _PREFERENCE = 1, 2  # seeds of noise


class LabelScorer(ABC):
    """A scorer that compares maps with hidden labels."""

    def __init__(self, suite: Suite):
        """Read the suite's labels."""
        self.labels = HiddenLabels(suite)

    def __call__(self, images: Any, action_maps: Any) -> torch.Tensor:
        """See `rss_env.feedback.Scorer`."""
        images, maps = torch.as_tensor(images), torch.as_tensor(action_maps)
        return self.score(maps.cpu(), self.labels.of(images)).to(images.device)

    @abstractmethod
    def score(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Scores (G, K) of maps (G, K, H, W) under labels (G, H, W)."""

    def metric(self, name: str, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """One of the environment's own metrics, (G, K)."""
        return score_counts(name, *confusion(maps, labels, self.labels.num_classes))


class MIoU(LabelScorer):
    """mIoU behind the scorer interface."""

    def score(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelScorer.score`."""
        return self.metric("miou", maps, labels)


class DiceSquared(LabelScorer):
    """The square of the mean Dice of the classes."""

    def score(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelScorer.score`."""
        return self.metric("dice", maps, labels).square()


class BoundaryF(LabelScorer):
    """The boundary F-score."""

    def score(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelScorer.score`."""
        return outline_f_score(maps, labels, self.labels.num_classes)


class AccuracyBoundary(LabelScorer):
    """Half mean accuracy of the classes, half boundary F-score."""

    def score(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelScorer.score`."""
        accuracy = self.metric("mean_accuracy", maps, labels)
        return (accuracy + outline_f_score(maps, labels, self.labels.num_classes)) / 2


def _noise(seed: int, maps: torch.Tensor, *, normal: bool) -> torch.Tensor:
    """A number (G, K) for each map, the same whenever it is shown: normal, or uniform in [0, 1)."""
    keys = [[zlib.crc32(k.numpy().tobytes()) for k in group] for group in maps]
    draw = counter_random.normal if normal else counter_random.uniform
    return torch.from_numpy(draw(seed, np.asarray(keys), counter_random.NOISE_STREAM, 0)).float()


class Person(LabelScorer):
    """Somebody who gives 0 to 5 stars for mIoU: a strict eye, unsteady by a third of a star."""

    exponent, sigma, stars = 1.3, 0.07, 5

    def score(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelScorer.score`."""
        liked = self.metric("miou", maps, labels) ** self.exponent
        liked = liked + self.sigma * _noise(_PERSON, maps, normal=True)
        return (liked * self.stars).round().clamp(0, self.stars) / self.stars


class Preference(LabelScorer):
    """Which of two maps is better, in pairs along K: 1 for it, 0 for the other; 10 % wrong."""

    wrong = 0.1

    def score(self, maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """See `LabelScorer.score`.

        Raises:
            InputError: If K is odd.
        """
        if maps.shape[1] % 2:
            raise InputError(f"group_size must be even to prefer in pairs, got {maps.shape[1]}")
        first, second = self.metric("miou", maps, labels).unflatten(1, (-1, 2)).unbind(2)
        noise = _noise(_PREFERENCE, maps, normal=False)[:, ::2]
        better = (first > second) ^ (noise < self.wrong)
        return torch.stack([better, ~better], 2).flatten(1).float()


class Teacher:
    """Agreement with a frozen network's own maps, in shares of the pixels."""

    def __init__(self, suite: Suite):
        """Load the network.

        Raises:
            InputError: If there is none.
        """
        folder = os.environ.get(TEACHERS)
        if folder is None:
            raise InputError(f"a teacher is needed: set {TEACHERS} to a folder of checkpoints")
        self.network, _ = load_checkpoint(Path(folder) / (suite.folder or suite.dataset))

    def __call__(self, images: Any, action_maps: Any) -> torch.Tensor:
        """See `rss_env.feedback.Scorer`."""
        shown, maps = torch.as_tensor(images), torch.as_tensor(action_maps)
        own = self.network.predict(shown.cpu())[:, None]
        return (maps.cpu() == own).float().mean((2, 3)).to(shown.device)


class Judge:
    """A small network that has learned mIoU from maps of some images: it errs, and can be gamed.

    The maps are labels in which parts are wrong, from none to all of them, in cells of several
    sizes. What an agent draws looks otherwise, and doubt costs it nothing.
    """

    every, maps_each, cells = 4, 24, (1, 4, 16)
    fitting = FittingConfig(members=2, steps=400)

    def __init__(self, suite: Suite):
        """Fit the network; every fourth image is known to it."""
        known = HiddenLabels(suite)
        images, labels = (part[:: self.every] for part in known.samples)
        maps = self._worsened(labels, known.num_classes)
        scores = score_counts("miou", *confusion(maps, labels, known.num_classes))
        index = torch.arange(len(images)).repeat_interleave(self.maps_each)
        examples = Examples(images, index, maps.flatten(0, 1), scores.flatten().float())
        judge, _ = fit_judge(examples, known.num_classes, self.fitting)
        self.scorer = JudgeScorer(judge, caution=0.0)

    def _worsened(self, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Maps (M, K, H, W) of labels (M, H, W), each with its own share of wrong cells."""
        generator = torch.Generator().manual_seed(0)
        maps = labels[:, None].repeat(1, self.maps_each, 1, 1)
        height, width = labels.shape[1:]
        for k in range(self.maps_each):
            side = self.cells[k % len(self.cells)]
            grid = (len(labels), -(-height // side), -(-width // side))
            classes = torch.randint(num_classes, grid, generator=generator, dtype=torch.uint8)
            wrong = torch.rand(grid, generator=generator) < k / (self.maps_each - 1)
            wide = [
                cells.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, :height, :width]
                for cells in (classes, wrong)
            ]
            maps[:, k] = torch.where(wide[1] | (maps[:, k] == VOID), wide[0], maps[:, k])
        return maps

    def __call__(self, images: Any, action_maps: Any) -> torch.Tensor:
        """See `rss_env.feedback.Scorer`."""
        return self.scorer(images, action_maps).to(torch.as_tensor(images).device)


class Rule:
    """No label at all: neither many parts, nor one class alone, and borders on edges."""

    most_parts, least_classes = 0.25, 3

    def __init__(self, suite: Suite):
        """Nothing of the suite is needed."""

    def __call__(self, images: Any, action_maps: Any) -> torch.Tensor:
        """See `rss_env.feedback.Scorer`."""
        shown, maps = torch.as_tensor(images).cpu(), torch.as_tensor(action_maps).cpu()
        grey = shown.float().mean(3)
        steps = torch.zeros_like(grey)
        steps[:, 1:] = (grey[:, 1:] - grey[:, :-1]).abs()
        steps[:, :, 1:] += (grey[:, :, 1:] - grey[:, :, :-1]).abs()
        edges = (steps / steps.flatten(1).quantile(0.9, 1).clamp(min=1)[:, None, None]).clamp(max=1)
        border = outlines(maps)
        share = border.float().mean((2, 3))
        on_edges = (border * edges[:, None]).sum((2, 3)) / border.sum((2, 3)).clamp(min=1)
        calm = (1 - share / self.most_parts).clamp(min=0)
        drawn = count_by_class(maps, torch.ones_like(border), 64)
        present = (drawn > 0.01 * border[0, 0].numel()).sum(2)
        varied = (present.float() / self.least_classes).clamp(max=1)
        return ((calm + on_edges + varied) / 3).to(torch.as_tensor(images).device)


ZOO: dict[str, Callable[[Suite], Scorer]] = {
    "miou": MIoU,
    "dice_squared": DiceSquared,
    "boundary_f": BoundaryF,
    "accuracy_boundary": AccuracyBoundary,
    "teacher": Teacher,
    "person": Person,
    "preference": Preference,
    "judge": Judge,
    "rule": Rule,
}
