"""From action maps to what the agent is told: rewards, and a score per scale or per cell.

The judge is the only part of a training environment that touches labels. What leaves it is the
feedback asked for and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rss_env.action_maps import ActionMapGeometry
from rss_env.errors import InputError, check_choice
from rss_env.feedback import Feedback, Scorer, call_scorer
from rss_env.kernels.cell_rewards import action_rewards
from rss_env.kernels.class_counts import action_counts
from rss_env.kernels.metric_scores import metric_scores
from rss_env.rewards import CLASS_METRICS, METRICS, class_scores
from rss_env.scenes import SceneBatch, Scenes

LEVELS = ("PixelReward", "ImageReward")


@dataclass(frozen=True)
class Verdict:
    """What is told of a batch of N = G * K actions.

    Attributes:
        rewards: (N,) float32.
        infos: `scale_scores` (N, S) and, if asked for, `class_scores` (N, S, C); or
            `pixel_rewards` (N, cells); float32.
    """

    rewards: torch.Tensor
    infos: dict[str, torch.Tensor]

    def where(self, alive: torch.Tensor) -> Verdict:
        """The verdict on the actions in a mask (N,), and zeros for the others."""

        def silenced(told: torch.Tensor) -> torch.Tensor:
            return torch.where(alive.view(-1, *[1] * (told.ndim - 1)), told, 0.0)

        infos = {name: silenced(told) for name, told in self.infos.items()}
        return Verdict(silenced(self.rewards), infos)


def check_weights(weights: Sequence[float] | None, num_scales: int) -> npt.NDArray[np.float32]:
    """Weights of the scales, divided by their sum; equal if None.

    Raises:
        InputError: If they are not one finite non-negative number per scale, some positive.
    """
    given: Any = weights
    try:
        values = np.ones(num_scales) if given is None else np.asarray(given)
    except ValueError:  # ragged sequences
        values = np.empty(0)
    if (
        values.dtype.kind not in "iuf"
        or values.shape != (num_scales,)
        or not np.isfinite(values).all()
        or (values < 0).any()
        or values.sum() <= 0
    ):
        raise InputError(
            f"scale_weights must be {num_scales} non-negative numbers with a positive sum, "
            f"got {weights}"
        )
    return (values / values.sum()).astype(np.float32)


class Judge:
    """Scores action maps on the scenes they were made for."""

    def __init__(
        self,
        scenes: Scenes,
        geometry: ActionMapGeometry,
        *,
        pixel_level: bool,
        metric: str,
        feedback: Feedback,
        scorer: Scorer | None,
        scale_weights: Sequence[float] | None,
        class_balanced: bool,
        tells_classes: bool,
        numpy: bool,
    ):
        """Check the settings and build what scoring needs.

        Raises:
            InputError: If settings are unknown or contradict each other.
        """
        self._pixel_level = pixel_level
        self._metric = check_choice("metric", metric, METRICS)
        self._scenes, self._geometry, self._feedback = scenes, geometry, feedback
        self._scorer, self._numpy, self._tells_classes = scorer, numpy, tells_classes
        self._scale_weights = check_weights(scale_weights, len(geometry.scales)).tolist()
        self._columns = [columns for _, columns in geometry.grids]
        if scorer is not None and self._pixel_level:
            raise InputError("a scorer gives one score per map; use it with the ImageReward level")
        if class_balanced and not self._pixel_level:
            raise InputError(
                "class_balanced is for the PixelReward level; valid metrics at the image level "
                f"that count classes alike: {', '.join(CLASS_METRICS)}"
            )
        if tells_classes and (pixel_level or scorer is not None or metric not in CLASS_METRICS):
            raise InputError(
                "class_scores needs the ImageReward level, labels, and a metric that is a mean "
                f"over classes ({', '.join(CLASS_METRICS)})"
            )
        if scorer is None:
            for scale in geometry.scales:
                scenes.label_table(scale)  # now, rather than in the first step
        weights = np.ones(scenes.num_classes)
        if class_balanced:
            # Inverse frequency over the data set, so that a right pixel is worth 1 on average.
            frequencies = scenes.class_frequencies()
            occurring = max(int((frequencies > 0).sum()), 1)
            weights = np.divide(
                1.0 / occurring, frequencies, out=np.zeros_like(weights), where=frequencies > 0
            )
        self._class_weights = torch.from_numpy(weights.astype(np.float32)).to(scenes.images.device)

    def __call__(
        self,
        actions: torch.Tensor,
        batch: SceneBatch,
        seeds: npt.NDArray[np.int64],
        episodes: npt.NDArray[np.int64],
    ) -> Verdict:
        """Judge a batch.

        Args:
            actions: (G, K, cells) uint8, K flat actions for each of G scenes.
            batch: The scenes.
            seeds: (G,) seed of each group, for the feedback's noise.
            episodes: (G,) episode of each group, likewise.
        """
        if self._pixel_level:
            exact = self._cell_rewards(actions, batch)
        elif self._scorer is not None:
            exact = self._asked_scores(self._scorer, actions, batch)
        else:
            exact = self._scale_scores(actions, batch)
        seen = self._feedback.apply(exact, seeds, episodes).flatten(0, 1)
        count = len(self._scale_weights)
        if self._pixel_level:
            infos = {"pixel_rewards": seen}
            scores = torch.stack([part.mean(-1) for part in self._geometry.split(seen)], -1)
        elif self._tells_classes:
            scores = seen[:, :count].contiguous()
            of_classes = seen[:, count:].unflatten(1, (count, -1)).contiguous()
            infos = {"scale_scores": scores, "class_scores": of_classes}
        else:
            scores, infos = seen, {"scale_scores": seen}
        return Verdict(self._weigh(scores), infos)

    def _weigh(self, scores: torch.Tensor) -> torch.Tensor:
        """The weighted mean (N,) of scores (N, S), added up coarse to fine."""
        on_cpu = scores.device.type == "cpu"
        # NumPy adds a handful of numbers in a fraction of the time that torch takes to begin.
        by_scale = scores.numpy().T if on_cpu else scores.T
        rewards = by_scale[0] * self._scale_weights[0]
        for weight, score in zip(self._scale_weights[1:], by_scale[1:], strict=True):
            rewards = rewards + weight * score
        return torch.from_numpy(rewards) if on_cpu else rewards

    def _cell_rewards(self, actions: torch.Tensor, batch: SceneBatch) -> torch.Tensor:
        labels = self._scenes.look_up(batch, self._geometry.scales)
        of_groups = (labels.index, labels.mirrored)
        return action_rewards(
            actions, labels.tables, *of_groups, self._columns, self._class_weights
        )

    def _asked_scores(
        self, scorer: Scorer, actions: torch.Tensor, batch: SceneBatch
    ) -> torch.Tensor:
        """A scorer's scores (G, K, S)."""
        images = self._scenes.observe(batch)
        scores = [
            call_scorer(scorer, images, self._geometry.upsample(part, s), numpy=self._numpy)
            for s, part in enumerate(self._geometry.split(actions))
        ]
        return torch.stack(scores, -1)

    def _scale_scores(self, actions: torch.Tensor, batch: SceneBatch) -> torch.Tensor:
        """Scores (G, K, S); behind them, if asked for, those of the classes: (G, K, S + S * C)."""
        labels = self._scenes.look_up(batch, self._geometry.scales)
        of_groups = (labels.index, labels.mirrored)
        counts = action_counts(
            actions, labels.tables, *of_groups, self._columns, self._scenes.num_classes
        )
        scores = metric_scores(self._metric, counts, labels.class_pixels, labels.index)
        if not self._tells_classes:
            return scores
        labelled = labels.class_pixels[labels.index][:, None, None]
        of_classes = class_scores(self._metric, *counts.unbind(3), labelled)
        return torch.cat([scores, of_classes.flatten(2)], -1)
