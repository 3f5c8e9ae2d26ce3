"""From action maps to feedback: rewards, and a score per scale or per cell.

The judge is the only part of a training environment that touches labels. What leaves it is the
feedback asked for and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
import torch

from rss_env import counter_random
from rss_env.action_maps import ActionMapGeometry
from rss_env.arrays import Array, alike, as_tensor, kept_where, steady_mean, to_device
from rss_env.config import EnvironmentConfig
from rss_env.errors import InputError
from rss_env.feedback import AnyScorer, Feedback, call_scorer, takes_context
from rss_env.kernels.cell_rewards import action_rewards
from rss_env.kernels.hash_images import hash_images
from rss_env.kernels.score_maps import (
    action_counts,
    action_scores,
    metric_scores,
    weighted_means,
)
from rss_env.rewards import class_scores, metrics_of_classes
from rss_env.scenes import SceneBatch, Scenes

_IMAGE_WEIGHT = 0x5851F42D4C957F2D  # odd: numbers of images are spread over 64 bits


@dataclass(slots=True)
class Verdict(Generic[Array]):
    """Rewards and scores of a batch of N = G * K actions: tensors, or arrays on the CPU.

    Attributes:
        rewards: (N,) float32.
        infos: `scale_scores` (N, S) and, if asked for, `class_scores` (N, S, C); or
            `pixel_rewards` (N, cells); float32.
    """

    rewards: Array
    infos: dict[str, Array]

    def where(self, alive: npt.NDArray[np.bool_]) -> Verdict[Array]:
        """Keep the verdict on the actions in a mask (N,), and put zeros for the others."""
        infos = {name: kept_where(alive, part) for name, part in self.infos.items()}
        return Verdict(kept_where(alive, self.rewards), infos)


def check_weights(weights: Sequence[float] | None, num_scales: int) -> npt.NDArray[np.float32]:
    """Divide the weights of the scales by their sum; None makes equal ones.

    Raises:
        InputError: If they are not one finite non-negative number per scale, some positive.
    """
    try:
        values: Any = np.ones(num_scales) if weights is None else np.asarray(weights)
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
        config: EnvironmentConfig,
        feedback: Feedback,
        scorer: AnyScorer | None,
    ):
        """Check what the arguments `config` say of scores, and build what scoring needs.

        Raises:
            InputError: If settings are unknown or contradict each other.
        """
        pixel_level, metric = config.level == "PixelReward", config.metric
        self._pixel_level, self._metric = pixel_level, metric
        self._scenes, self._geometry, self._feedback = scenes, geometry, feedback
        self._scorer, self._numpy = scorer, config.array == "numpy"
        self._gives_context = scorer is not None and takes_context(scorer)
        self._shows_scales, self._shows_classes = config.scale_scores, config.class_scores
        weights = check_weights(config.scale_weights, len(geometry.scales))
        device = scenes.device
        self._scale_weights: Any = weights if device.type == "cpu" else to_device(weights, device)
        self._columns = [columns for _, columns in geometry.grids]
        self._num_classes = scenes.num_classes
        if scorer is not None and pixel_level:
            raise InputError("a scorer gives one score per map; use it with the ImageReward level")
        of_classes = metrics_of_classes()
        if pixel_level and not config.scale_scores:
            raise InputError("scale_scores=False is for the ImageReward level")
        if config.class_balanced and not pixel_level:
            raise InputError(
                "class_balanced is for the PixelReward level; valid metrics at the image level "
                f"that count classes alike: {', '.join(of_classes)}"
            )
        if config.class_scores and (pixel_level or scorer is not None or metric not in of_classes):
            raise InputError(
                "class_scores needs the ImageReward level, labels, and a metric that is a mean "
                f"over classes ({', '.join(of_classes)})"
            )
        weights = np.ones(scenes.num_classes)
        if config.class_balanced:
            weights = scenes.inverse_frequencies()
        self._class_weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self._map_weights: list[torch.Tensor] = []
        if feedback.kind == "noisy":  # which depends on hashes of maps
            cells = np.arange(geometry.num_cells)
            odd = counter_random.hash_counters(counter_random.MAP_STREAM, cells) | np.uint64(1)
            self._map_weights = geometry.split(to_device(odd.view(np.int64)[None], device))

    @property
    def info_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each info of one map, by name."""
        scales = len(self._columns)
        if self._pixel_level:
            return {"pixel_rewards": (self._geometry.num_cells,)}
        shapes: dict[str, tuple[int, ...]] = {"scale_scores": (scales,)}
        if not self._shows_scales:
            shapes.clear()
        if self._shows_classes:
            shapes["class_scores"] = (scales, self._num_classes)
        return shapes

    def __call__(
        self,
        actions: Array,
        batch: SceneBatch[Array],
        noise_states: Callable[[tuple[int, int]], torch.Tensor],
    ) -> Verdict[Array]:
        """Judge a batch.

        Args:
            actions: (G, K, cells) uint8, K flat actions for each of G scenes; tensors or arrays,
                as the batch has them.
            batch: The scenes.
            noise_states: Gives those of the feedback's noise, as `Feedback.apply` asks for them.
        """
        if self._scorer is not None:
            exact, means = self._asked_scores(self._scorer, actions, batch), None
        elif self._pixel_level:
            exact, means = self._cell_rewards(actions, batch), None
        else:
            exact, means = self._label_scores(actions, batch)
        seen = exact
        if self._feedback.kind != "exact":
            judged = partial(self._judged, actions, batch)
            seen = alike(exact, self._feedback.apply(as_tensor(exact), noise_states, judged))
            means = None
        seen = seen.reshape(-1, seen.shape[-1])
        if self._pixel_level:
            parts = self._geometry.split(as_tensor(seen))
            scores = alike(seen, torch.cat([steady_mean(part, -1) for part in parts], -1))
            infos = {"pixel_rewards": seen}
        else:
            scores, infos = seen, {"scale_scores": seen}
            if self._shows_classes:
                count = len(self._columns)
                scores, of_classes = seen[:, :count], seen[:, count:]
                infos = {
                    "scale_scores": scores,
                    "class_scores": of_classes.reshape(len(seen), count, -1),
                }
            if not self._shows_scales:
                del infos["scale_scores"]
        if means is None:
            means = weighted_means(scores, alike(scores, self._scale_weights))
        return Verdict(means.reshape(-1), infos)

    def _judged(self, actions: Array, batch: SceneBatch[Array]) -> torch.Tensor:
        """Numbers of what each score is of: (G, K, X) int64.

        That is an image, and a scale's map or, of a cell's reward, the class of the cell.
        """
        maps = as_tensor(actions)
        if self._pixel_level:
            own = maps.long()
        else:
            parts = zip(self._geometry.split(maps), self._map_weights, strict=True)
            hashes = [hash_images(part.flatten(0, 1), weights) for part, weights in parts]
            own = torch.stack(hashes, -1).view(*maps.shape[:2], -1)
            if self._shows_classes:
                own = torch.cat([own, own.repeat_interleave(self._num_classes, -1)], -1)
        return own + as_tensor(batch.index)[:, None, None] * _IMAGE_WEIGHT

    def finest_counts(self, actions: Array, batch: SceneBatch[Array]) -> Array:
        """True positives and predicted pixels (G, K, 2, C) of actions' finest maps; by labels."""
        finest = len(self._columns) - 1
        labels = self._scenes.look_up(batch, self._geometry.scales[finest:])
        maps = self._geometry.split(as_tensor(actions))[finest].contiguous()
        counts = action_counts(
            alike(actions, maps),
            labels.tables,
            labels.index,
            labels.mirrored,
            self._columns[finest:],
            self._num_classes,
        )
        return counts[:, :, 0]

    def _cell_rewards(self, actions: Array, batch: SceneBatch[Array]) -> Array:
        """Reward cells by labels: (G, K, cells)."""
        labels = self._scenes.look_up(batch, self._geometry.scales)
        weights = self._class_weights
        return action_rewards(
            actions, labels.tables, labels.index, labels.mirrored, self._columns, weights
        )

    def _label_scores(self, actions: Array, batch: SceneBatch[Array]) -> tuple[Array, Array]:
        """Score by labels.

        Returns:
            (G, K, S) scores, and behind them, if shown, those of the classes: (G, K, S + S * C);
            (G, K) weighted means of the former.
        """
        labels = self._scenes.look_up(batch, self._geometry.scales)
        of_actions = (actions, labels.tables, labels.index, labels.mirrored, self._columns)
        weights = alike(actions, self._scale_weights)
        if not self._shows_classes:
            return action_scores(self._metric, *of_actions, labels.class_pixels, weights)
        counts = action_counts(*of_actions, self._num_classes)
        scores, means = metric_scores(
            self._metric, counts, labels.class_pixels, labels.index, weights
        )
        right, predicted = as_tensor(counts).unbind(3)
        labelled = as_tensor(labels.class_pixels)[as_tensor(labels.index)][:, None, None]
        of_classes = class_scores(self._metric, right, predicted, labelled)
        seen = torch.cat([as_tensor(scores), of_classes.flatten(2)], -1)
        return alike(actions, seen), means

    def _asked_scores(self, scorer: AnyScorer, actions: Array, batch: SceneBatch[Array]) -> Array:
        """Ask a scorer: (G, K, S)."""
        images = as_tensor(self._scenes.observe(batch))
        scores = []
        for s, part in enumerate(self._geometry.split(as_tensor(actions))):
            context = None
            if self._gives_context:
                context = self._scenes.context_of(batch, self._geometry.scales[s])
            maps = self._geometry.upsample(part, s)
            scores.append(call_scorer(scorer, images, maps, numpy=self._numpy, context=context))
        return alike(actions, torch.stack(scores, -1))
