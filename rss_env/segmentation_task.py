"""What both environments are made of: images, those who judge maps of them, and random scenes.

`RSSVectorEnv` and `RSSEnv` add to this how Gymnasium calls an environment of many and of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode

from rss_env.action_maps import ActionMapGeometry, default_scales
from rss_env.arguments import (
    check_autoreset_mode,
    check_device,
    check_flag,
    check_image_size,
    check_whole_number,
)
from rss_env.array_pool import ArrayPool
from rss_env.arrays import as_tensor, to_device
from rss_env.augmentation import Augmentation
from rss_env.datasets import default_image_size, open_dataset
from rss_env.errors import InputError, check_choice
from rss_env.feedback import Feedback, Scorer, load_scorer
from rss_env.judge import LEVELS, Judge, Verdict
from rss_env.rendering import overlay
from rss_env.scene_stream import SceneBatch, SceneStream
from rss_env.scenes import load_scenes

ARRAYS = ("numpy", "torch")
RENDER_MODES = ("rgb_array",)
METADATA: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 2}
_POOLED_FROM = 2**20  # bytes of a batch of images; smaller memory is quick to get


class SegmentationTask:
    """Semantic segmentation of N images at a time, rewarded by scores.

    An episode is one step: see an image, act once, get the score.

    Attributes:
        group_size: K; sub-environments gK .. gK + K - 1 see the same image at the same time.
        geometry: The action maps' grids and offsets.
        class_names: C names.
        metric: Name of the metric that scores maps; None with a scorer.
        formula: The same, but with a scorer the metric whose values it may estimate.
        feedback: What of a score is seen.
        pixel_level: Whether there is a reward per cell rather than a score per map.
        augmentation: How images are varied at random.
    """

    spec: EnvSpec | None = None
    render_mode: str | None = None
    closed: bool = False

    def __init__(
        self,
        num_envs: int = 1,
        *,
        dataset: str,
        level: str,
        split: str | None = None,
        image_size: int | Sequence[int] | None = None,
        scales: Sequence[int] | None = None,
        scale_weights: Sequence[float] | None = None,
        action_format: str = "flat",
        metric: str = "miou",
        feedback: str = "exact",
        scorer: Scorer | str | None = None,
        class_balanced: bool = False,
        class_scores: bool = False,
        horizontal_flip: bool = False,
        zoom: Sequence[float] | None = None,
        colour_jitter: float = 0.0,
        group_size: int = 1,
        autoreset_mode: str | AutoresetMode = "SameStep",
        array: str = "numpy",
        device: str | torch.device = "cpu",
        validate_actions: bool = True,
        render_mode: str | None = None,
        **dataset_options: Any,
    ):
        """Open the data set and lay out the spaces.

        Args:
            num_envs: N, a multiple of `group_size`.
            dataset: `Shapes`, `VOC`, `PascalContext`, `Cityscapes` or `Folder`.
            level: `ImageReward`, one score per map; `PixelReward`, one reward per cell.
            split: A split's name or a list file; None for the data set's training split.
            image_size: Side or (H, W) to resize to; None for the data set's default.
            scales: Cell sizes in pixels, coarse to fine; None for (8, 4, 2, 1) up to 64 pixels
                and (32, 16, 8, 4) above.
            scale_weights: Weight of each scale in the reward; None for equal.
            action_format: `flat`, one MultiDiscrete; `maps`, a Dict of one grid per scale.
            metric: `miou`, `pixel_accuracy`, `mean_accuracy` or `dice`.
            feedback: `exact`, `rating[:stars]`, `noisy[:deviation]` or `ranking`.
            scorer: A callable, or its `module:function`, that scores maps in place of labels.
            class_balanced: At pixel level, weight classes by inverse frequency.
            class_scores: At image level, also tell the score of each class, as far as the
                feedback shows scores.
            horizontal_flip: Whether images are mirrored at random.
            zoom: Lowest and highest factor by which images are enlarged at random; None for never.
            colour_jitter: How far brightness, contrast and saturation are changed at random, 0..1.
            group_size: K, how many neighbouring sub-environments share an image.
            autoreset_mode: `SameStep`, `NextStep` or `Disabled`, in any case.
            array: `numpy` or `torch`: what comes back.
            device: Where tensors live.
            validate_actions: Whether to check the range of actions.
            render_mode: None or `rgb_array`.
            **dataset_options: `root`, or the data set's own arguments.

        Raises:
            InputError: If an argument is invalid or the data cannot be used.
        """
        self._arguments = {
            key: value
            for key, value in locals().items()
            if key not in ("self", "dataset_options", "__class__")
        } | dataset_options
        group_size = check_whole_number("group_size", group_size, 1)
        num_envs = check_whole_number("num_envs", num_envs, 1)
        if num_envs % group_size:
            raise InputError(
                f"num_envs must be a multiple of group_size={group_size}, got {num_envs}"
            )
        check_flag("horizontal_flip", horizontal_flip)
        check_flag("validate_actions", validate_actions)
        check_flag("class_balanced", class_balanced)
        check_flag("class_scores", class_scores)
        check_choice("array", array, ARRAYS)
        if render_mode is not None:
            check_choice("render_mode", render_mode, RENDER_MODES)
        self._num_envs, self.group_size, self.render_mode = num_envs, group_size, render_mode
        self._autoreset_mode = check_autoreset_mode(autoreset_mode)
        self.device = check_device(device)
        self._on_cpu = self.device.type == "cpu"
        self._numpy = array == "numpy"
        if self._numpy and not self._on_cpu:
            raise InputError(f"array='numpy' lives on the CPU; use array='torch' with {device!r}")
        judged_by = load_scorer(scorer)
        self.formula, self.metric = metric, metric if judged_by is None else None
        self.class_balanced = class_balanced
        self.feedback = Feedback.parse(feedback, group_size)
        self.pixel_level = check_choice("level", level, LEVELS) == "PixelReward"

        data = open_dataset(dataset, split=split, **dataset_options)
        size = check_image_size(default_image_size(dataset) if image_size is None else image_size)
        self.geometry = ActionMapGeometry(
            size, default_scales(size) if scales is None else scales, data.num_classes
        )
        if not data.has_labels and judged_by is None:
            raise InputError(f"{dataset} is given without labels; give labels=... or scorer=...")
        self._action_format, self._validate_actions = action_format, validate_actions
        self.augmentation = Augmentation.parse(horizontal_flip, zoom, colour_jitter)
        self._scenes = load_scenes(data, size, self.device)
        self.class_names, self.palette = data.class_names, data.palette
        self._judge = Judge(
            self._scenes,
            self.geometry,
            pixel_level=self.pixel_level,
            metric=metric,
            feedback=self.feedback,
            scorer=judged_by,
            scale_weights=scale_weights,
            class_balanced=class_balanced,
            shows_classes=class_scores,
            numpy=self._numpy,
        )
        if judged_by is None and zoom is None:  # maps of windows are judged by tables of their own
            for scale in self.geometry.scales:
                self._scenes.label_table(scale)  # now, rather than in the first step
        self._spaces = (  # of one image and of one action
            spaces.Box(0, 255, (*size, 3), np.uint8),
            self.geometry.action_space(action_format),
        )
        batch = (num_envs, *size, 3)
        large = self._on_cpu and np.prod(batch) >= _POOLED_FROM
        self._pool = ArrayPool(batch) if large else None
        num_groups = num_envs // group_size
        self._stream = SceneStream(num_groups, len(self._scenes), self.augmentation)
        self._done = np.zeros(num_groups, np.bool_)
        self._look_up()

    # --- what is known of it ---

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return len(self._scenes)

    @property
    def image_index(self) -> torch.Tensor:
        """Numbers of the current images in the data set, of each group: (N / K,) int64."""
        return as_tensor(self._batch.index)

    def content_digest(self) -> str:
        """See `Scenes.content_digest`."""
        return self._scenes.content_digest()

    def get_state(self) -> dict[str, list[int]]:
        """Everything that decides what comes next, as lists of integers (JSON-able)."""
        return {**self._stream.get_state(), "done": self._done.astype(int).tolist()}

    def set_state(self, state: dict[str, list[int]]) -> None:
        """Continue exactly from a state of `get_state`; `observe` then gives the images.

        Raises:
            InputError: If it is no state, or one of another number of sub-environments.
        """
        self._require_open()
        done = self._stream.parse_state(state, "done", 0)
        self._stream.set_state(state)
        self._done = done.astype(np.bool_)
        self._look_up()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "arguments": self._arguments,
            "spec": self.spec,
            "closed": self.closed,
            "state": self.get_state(),
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["arguments"])
        self.set_state(saved["state"])
        self.spec, self.closed = saved["spec"], saved["closed"]

    # --- what environments are made of ---

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the environment is closed")

    def _require_first_reset(self) -> None:
        if not self._stream.has_begun:
            raise ResetNeeded("call reset before step")

    def _parse(self, actions: Any) -> Any:
        """Actions as class indices (N, cells) uint8: an array on the CPU, elsewhere a tensor."""
        given = (actions, self._num_envs, self._action_format)
        if self._on_cpu:
            return self.geometry.parse_to_array(*given, check_range=self._validate_actions)
        return self.geometry.parse(*given, device=self.device, check_range=self._validate_actions)

    def _judge_maps(self, maps: Any) -> Verdict[Any]:
        """The verdict on parsed actions (N, cells) for the current scenes."""
        grouped = maps.reshape(-1, self.group_size, self.geometry.num_cells)
        return self._judge(grouped, self._batch, self._stream.seeds, self._stream.episodes)

    def _observe(self) -> Any:
        """The current observations (N, H, W, 3) uint8, freshly copied."""
        return self._export(self._scenes.observe(self._batch, self.group_size, self._pool))

    def _begin_episodes(self, groups: np.ndarray) -> None:
        """Move the groups in a (G,) mask to their next episode."""
        self._stream.advance(groups)
        self._done = self._done > groups  # done, and not begun anew
        self._look_up()

    def _look_up(self) -> None:
        """Fetch the scenes that the stream's state means."""
        # Arrays on the CPU: wrapping them would take a small environment most of its time.
        draw = self._stream.batch_of_arrays if self._on_cpu else self._stream.batch
        self._batch: SceneBatch[Any] = draw(self.device)
        self._shown: tuple[SceneBatch[Any], Any] = (self._batch, None)

    def _export(self, told: np.ndarray | torch.Tensor) -> Any:
        """What is told in the kind of array asked for, on the environment's device."""
        if self._numpy:
            return told if isinstance(told, np.ndarray) else told.numpy()
        return to_device(told, self.device) if isinstance(told, np.ndarray) else told

    def _frames(self) -> tuple[np.ndarray, ...] | None:
        """The last judged image of each sub-environment under its finest action map.

        Returns:
            N frames (H, W, 3) uint8; images alone before the first step; None without a mode.
        """
        self._require_open()
        if self.render_mode is None:
            return None
        batch, actions = self._shown
        images = as_tensor(self._scenes.observe(batch, self.group_size)).cpu().numpy()
        if actions is None:
            return tuple(images)
        finest = len(self.geometry.scales) - 1
        maps = self.geometry.upsample(self.geometry.split(as_tensor(actions))[finest], finest)
        maps = maps.cpu().numpy()
        return tuple(overlay(i, m, self.palette) for i, m in zip(images, maps, strict=True))
