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
from rss_env.kernels.cell_rewards import cell_rewards
from rss_env.kernels.class_counts import class_counts
from rss_env.rewards import CLASS_METRICS, METRICS, class_scores, score_counts
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
        parts = self._geometry.split(actions)
        if self._pixel_level:
            exact = torch.cat(self._cell_rewards(parts, batch), -1)
        else:
            exact = torch.cat(self._scale_scores(parts, batch), -1)
        seen = self._feedback.apply(exact, seeds, episodes).flatten(0, 1)
        if self._pixel_level:
            scores = [part.mean(-1) for part in self._geometry.split(seen)]
            infos = {"pixel_rewards": seen}
        else:
            count = len(self._scale_weights)
            scores = list(seen[:, :count].unbind(-1))
            infos = {"scale_scores": seen[:, :count]}
            if self._tells_classes:
                infos["class_scores"] = seen[:, count:].unflatten(1, (count, -1))
        rewards = torch.zeros_like(scores[0])
        for weight, score in zip(self._scale_weights, scores, strict=True):
            rewards += weight * score
        return Verdict(rewards, infos)

    def _cell_rewards(self, parts: list[torch.Tensor], batch: SceneBatch) -> list[torch.Tensor]:
        labels = self._scenes.look_up(batch, self._geometry.scales)
        return [
            cell_rewards(part, table, labels.index, labels.mirrored, columns, self._class_weights)
            for part, table, (_, columns) in zip(
                parts, labels.tables, self._geometry.grids, strict=True
            )
        ]

    def _scale_scores(self, parts: list[torch.Tensor], batch: SceneBatch) -> list[torch.Tensor]:
        """Scores (G, K, 1) of each scale; then, if asked for, those (G, K, C) of its classes."""
        if self._scorer is not None:
            images = self._scenes.observe(batch)
            return [
                call_scorer(
                    self._scorer, images, self._geometry.upsample(part, s), numpy=self._numpy
                )[..., None]
                for s, part in enumerate(parts)
            ]
        labels = self._scenes.look_up(batch, self._geometry.scales)
        labelled = labels.class_pixels[:, None]
        scores, of_classes = [], []
        for part, table, (_, columns) in zip(
            parts, labels.tables, self._geometry.grids, strict=True
        ):
            right, predicted = class_counts(
                part, table, labels.index, labels.mirrored, columns, self._scenes.num_classes
            ).unbind(2)
            scores.append(score_counts(self._metric, right, predicted, labelled)[..., None])
            if self._tells_classes:
                of_classes.append(class_scores(self._metric, right, predicted, labelled))
        return scores + of_classes
