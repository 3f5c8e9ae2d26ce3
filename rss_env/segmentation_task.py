"""The base of all environments: images, a judge of maps of them, and random scenes.

`RSSVectorEnv` and `RSSEnv` add to this how Gymnasium calls an environment of many and of one;
`SequentialTask` makes episodes of several steps of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from rss_env.action_maps import ActionMapGeometry, default_scales
from rss_env.arguments import (
    check_autoreset_mode,
    check_crop_size,
    check_device,
    check_image_size,
    check_whole_number,
)
from rss_env.array_pool import ArrayPool
from rss_env.arrays import as_tensor, to_device
from rss_env.augmentation import Augmentation
from rss_env.config import RENDER_MODES, EnvironmentConfig
from rss_env.datasets import default_image_size, open_dataset
from rss_env.errors import BudgetSpentError, InputError, check_choice
from rss_env.feedback import AnyScorer, Feedback, load_scorer
from rss_env.host_inputs import HostInputs
from rss_env.judge import Judge, Verdict
from rss_env.labels import VOID
from rss_env.outcome import Outcome
from rss_env.rendering import overlay
from rss_env.scene_stream import SceneBatch, SceneStream
from rss_env.scenes import load_scenes
from rss_env.split_pass import SplitPass
from rss_env.streamed_images import StreamedImages
from rss_env.window import Window

METADATA: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 2}
# What Gymnasium draws from at random; no image or score depends on it.
_RANDOM = (
    *("observation_space", "action_space", "single_observation_space", "single_action_space"),
    *("_np_random", "_np_random_seed"),
)
_POOLED_FROM = 2**20  # bytes of a batch of images; smaller memory is quick to get


class SegmentationTask:
    """Semantic segmentation of N images at a time, rewarded by scores.

    An episode is one step: see an image, act once, get the score.

    Attributes:
        group_size: K; sub-environments gK .. gK + K - 1 see the same image at the same time.
        geometry: The action maps' grids and offsets.
        image_size: (H, W) that images are resized to; they are shown in parts with a `crop_size`.
        dataset: Where they are from.
        class_names: C names.
        metric: Name of the metric that scores maps; None with a scorer.
        asks_a_scorer: Whether a scorer is asked in place of labels.
        formula: The same, but with a scorer the metric whose values it may estimate.
        feedback: What of a score is seen.
        pixel_level: Whether there is a reward per cell rather than a score per map.
        augmentation: How images are varied at random.
        takes_one_step: Whether every step ends an episode.
        score_queries: Scores (of a map at a scale) that were asked for since the environment was
            made; no state holds them.
    """

    spec: EnvSpec | None = None
    render_mode: str | None = None
    closed: bool = False
    config_type: type[EnvironmentConfig] = EnvironmentConfig
    takes_one_step: bool = True

    def __init__(self, num_envs: int = 1, **arguments: Any):
        """Open the data set and lay out the spaces.

        Args:
            num_envs: N, a multiple of `group_size`.
            **arguments: Fields of `config_type`, and options of the data set.

        Raises:
            InputError: If an argument is invalid or the data cannot be used.
        """
        self._arguments = {"num_envs": num_envs, **arguments}
        self.score_queries = 0
        config = self.config_type.of(arguments)
        self.group_size = int(config.group_size)
        num_envs = check_whole_number("num_envs", num_envs, 1)
        if num_envs % self.group_size:
            raise InputError(
                f"num_envs must be a multiple of group_size={self.group_size}, got {num_envs}"
            )
        self._num_envs, self.render_mode = num_envs, config.render_mode
        self._window: Window | None = None
        if self.render_mode == "human":
            name = f"RSS/{config.dataset_name}-{config.level}-v0"
            self._window = Window(name, METADATA["render_fps"])
        self._autoreset_mode = check_autoreset_mode(config.autoreset_mode)
        self.device = check_device(config.device)
        self._on_cpu = self.device.type == "cpu"
        self._numpy = config.array == "numpy"
        scorer = load_scorer(config.scorer)
        self.asks_a_scorer = scorer is not None
        self.formula, self.metric = config.metric, config.metric if scorer is None else None
        self.class_balanced = config.class_balanced
        self.feedback = Feedback.parse(config.feedback, self.group_size)
        self.pixel_level = check_choice("level", config.level, config.levels) == "PixelReward"

        options = config.dataset_options
        data = open_dataset(config.dataset, config.exclude, split=config.split, **options)
        own_size = data.default_image_size or default_image_size(config.dataset_name)
        self.image_size = check_image_size(
            own_size if config.image_size is None else config.image_size
        )
        cut_size = check_crop_size(config.crop_size, self.image_size)
        size = cut_size or self.image_size  # of what is shown
        scales = default_scales(size) if config.scales is None else config.scales
        self.geometry = self._restricted(ActionMapGeometry(size, scales, data.num_classes))
        if not data.has_labels and scorer is None:
            raise InputError(
                f"{config.dataset_name} is given without labels; give labels=... or scorer=..."
            )
        self._action_format = config.action_format
        self._validate_actions = config.validate_actions
        self.augmentation = Augmentation.parse(
            config.horizontal_flip, config.zoom, config.colour_jitter, cut_size, config.num_views
        )
        self.dataset = data
        self._scenes = load_scenes(
            data, self.image_size, self.device, config.resize, config.data_on
        )
        self.class_names, self.palette = data.class_names, data.palette
        # Windows are judged by tables of their own.
        has_tables = scorer is None and config.zoom is None and cut_size is None
        self._table_scales = self.geometry.scales if has_tables else ()
        for scale in self._table_scales if self._scenes.streamed is None else ():
            self._scenes.label_table(scale)  # now, rather than in the first step
        self._lay_out(config, scorer)
        batch = (num_envs, *size, 3)
        large = self._on_cpu and np.prod(batch) >= _POOLED_FROM
        self._pool = ArrayPool(batch) if large else None
        num_groups = num_envs // self.group_size
        evaluates = config.evaluation is not None
        self._stream = SceneStream(
            num_groups,
            len(self._scenes),
            self.augmentation,
            in_order=evaluates,
            source=self._scenes.streamed,
        )
        self._query_budget, self._tells_index = config.query_budget, config.image_index
        self._split_pass: SplitPass | None = None
        self._rewards_gains = config.evaluation in ("dataset", "normalised")
        if config.evaluation is not None and scorer is None:
            finest = self.geometry.scales[-1]
            self._split_pass = SplitPass(
                self._scenes, config.metric, finest, rewarded=config.evaluation
            )
        self._done = np.zeros(num_groups, np.bool_)
        self._inputs = HostInputs(self.device)
        self._look_up()

    def _restricted(self, geometry: ActionMapGeometry) -> ActionMapGeometry:
        """The geometry of the maps that are judged, given that of all scales."""
        return geometry

    def _lay_out(self, config: EnvironmentConfig, scorer: AnyScorer | None) -> None:
        """Make the judge and the spaces, of one observation and of one action."""
        self._judge = Judge(self._scenes, self.geometry, config, self.feedback, scorer)
        image = spaces.Box(0, 255, (*self.geometry.image_size, 3), np.uint8)
        self._spaces: tuple[spaces.Space[Any], spaces.Space[Any]] = (
            image,
            self.geometry.action_space(config.action_format),
        )

    # --- what is known of it ---

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self._scenes)

    @property
    def num_shown(self) -> int:
        """Number of different images that may be shown: of images, or of views of them."""
        return self.num_images * (self.augmentation.num_views or 1)

    @property
    def image_index(self) -> torch.Tensor:
        """Numbers of the current images in the data set, of each group: (N / K,) int64, a copy."""
        return as_tensor(self._batch.index).clone()

    @property
    def image_numbers(self) -> npt.NDArray[np.int64]:
        """The same as an array, which no device is waited for."""
        return self._stream.numbers()

    def images_of(self, index: torch.Tensor) -> torch.Tensor:
        """The images of the data set with numbers (B,) int64, unvaried: (B, H, W, 3) uint8."""
        images = self._scenes.images
        return images[index.to(images.device)].to(self.device)

    @property
    def streamed(self) -> StreamedImages | None:
        """What streams images and labels from the host; None if all are on the device."""
        return self._scenes.streamed

    @property
    def info_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of what a step tells of one map beside its reward, by name; float32."""
        return self._judge.info_shapes

    def content_digest(self) -> str:
        """See `Scenes.content_digest`; of everything that maps are judged by."""
        return self._scenes.content_digest(self._table_scales)

    def get_state(self) -> dict[str, list[Any]]:
        """Return all that decides what comes next, as lists of integers (JSON-able)."""
        state = {**self._stream.get_state(), "done": self._done.astype(int).tolist()}
        return state if self._split_pass is None else state | self._split_pass.get_state()

    def set_state(self, state: dict[str, list[Any]]) -> None:
        """Continue exactly from a state of `get_state`; `observe` then gives the images.

        Raises:
            InputError: If it is no state, or one of another number of sub-environments.
        """
        self._require_open()
        done = self._stream.parse_state(state, "done", 0)
        if self._split_pass is not None:
            self._split_pass.parse_state(state)  # before anything is changed
        self._stream.set_state(state)
        if self._split_pass is not None:
            self._split_pass.set_state(state)
        self._done = done.astype(np.bool_)
        self._look_up()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "arguments": self._arguments,
            "spec": self.spec,
            "closed": self.closed,
            "score_queries": self.score_queries,
            "state": self.get_state(),
            "random": {name: vars(self)[name] for name in _RANDOM if name in vars(self)},
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        self.__init__(**saved["arguments"])
        self.set_state(saved["state"])
        self.spec, self.closed = saved["spec"], saved["closed"]
        self.score_queries = saved["score_queries"]
        vars(self).update(saved["random"])

    # --- what environments are made of ---

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the environment is closed")

    def _require_first_reset(self) -> None:
        if not self._stream.has_begun:
            raise ResetNeeded("call reset before step")

    def _parse(self, actions: Any) -> Any:
        """Actions as class indices (N, cells) uint8: an array on the CPU, elsewhere a tensor."""
        number, form, check = self._num_envs, self._action_format, self._validate_actions
        if self._on_cpu:
            return self.geometry.parse_to_array(actions, number, form, check_range=check)
        return self.geometry.parse(actions, number, form, device=self.device, check_range=check)

    def _play(self, parsed: Any) -> Outcome:
        """Take parsed actions in the groups that are not done: all of them end.

        Raises:
            BudgetSpentError: If they ask for more scores than are left; nothing has changed then.
        """
        dead, none = self._done, np.zeros(self._num_envs, np.bool_)
        count = np.count_nonzero(dead)
        alive = np.repeat(~dead, self.group_size) if count else ~none
        if count == len(dead):
            return Outcome(np.zeros(self._num_envs, np.float32), none, none, none)
        verdict = self._judge_maps(parsed, alive if count else None)
        shown = (self._batch, parsed)
        return Outcome(verdict.rewards, alive, none, alive, verdict.infos, shown)

    def _judge_maps(self, maps: Any, alive: np.ndarray | None = None) -> Verdict[Any]:
        """The verdict on parsed actions (N, cells) for the current scenes.

        Args:
            maps: The actions.
            alive: (N,) bool, which of them count; None for all. The others get zeros.

        Raises:
            BudgetSpentError: If they ask for more scores than are left; nothing has changed then.
        """
        count = self._num_envs if alive is None else int(np.count_nonzero(alive))
        self._ask(count * len(self.geometry.scales))
        grouped = maps.reshape(-1, self.group_size, self.geometry.num_cells)
        verdict = self._judge(grouped, self._batch, self._noise_by(self._inputs))
        if alive is not None:
            verdict = verdict.where(alive)
        return verdict if self._split_pass is None else self._add_to_pass(verdict, grouped, alive)

    def _ask(self, queries: int) -> None:
        """Count scores that are asked for.

        Raises:
            BudgetSpentError: If they are more than are left; they are not counted then.
        """
        budget, asked = self._query_budget, self.score_queries + queries
        if budget is not None and asked > budget:
            raise BudgetSpentError(
                f"this step asks for {queries} scores, and {budget - self.score_queries} are left "
                f"of query_budget={budget}"
            )
        self.score_queries = asked

    def _add_to_pass(
        self, verdict: Verdict[Any], grouped: Any, alive: np.ndarray | None
    ) -> Verdict[Any]:
        """Add what a pass over the split tells to a verdict on actions (N, 1, cells)."""
        assert self._split_pass is not None
        counts, index = (
            as_tensor(part).cpu().numpy()
            for part in (self._judge.finest_counts(grouped, self._batch)[:, 0], self._batch.index)
        )
        told = self._split_pass.add(index, counts, alive)
        gains = told.pop("gains").astype(np.float32)
        if self._rewards_gains:
            verdict.rewards = gains if self._on_cpu else to_device(gains, self.device)
        verdict.infos |= told
        return verdict

    def _told_index(self, mask: np.ndarray | None = None) -> dict[str, Any]:
        """The numbers of the current images as infos, of the sub-environments in a mask (N,)."""
        if not self._tells_index:
            return {}
        index = np.repeat(as_tensor(self._batch.index).cpu().numpy(), self.group_size)
        shown = np.ones(self._num_envs, np.bool_) if mask is None else mask
        infos = {"image_index": np.where(shown, index, 0), "_image_index": shown.copy()}
        return {name: self._export(values) for name, values in infos.items()}

    # --- the parts of a step, for work that is done without Gymnasium's interface ---

    def tell_scenes(self, inputs: HostInputs) -> SceneBatch[torch.Tensor]:
        """The scenes that the groups see now, as what the host tells the device."""
        return self._stream.tell(inputs)

    def images_in(self, batch: SceneBatch[torch.Tensor]) -> torch.Tensor:
        """The images (G, H, W, 3) uint8 of scenes, each once."""
        return self._scenes.observe(batch)

    def judge(self, maps: Any, batch: SceneBatch[Any], inputs: HostInputs) -> Verdict[Any]:
        """The verdict on maps (G, K, cells) uint8 of scenes; all else stays as it is.

        Args:
            maps: Flat actions, on the environment's device; arrays if the scenes are.
            batch: The scenes that the groups see now.
            inputs: By which the host counts the queries, and tells the feedback's noise.

        Raises:
            BudgetSpentError: If they ask for more scores than are left; nothing has changed then.
        """
        inputs.do(lambda: self._ask(self._num_envs * len(self.geometry.scales)))
        return self._judge(maps, batch, self._noise_by(inputs))

    def _noise_by(self, inputs: HostInputs) -> Callable[[tuple[int, int]], torch.Tensor]:
        """What gives `Feedback.noise_states` of the current episodes, as `Feedback.apply` asks."""
        of, stream = self.feedback, self._stream

        def noise_states(shape: tuple[int, int]) -> torch.Tensor:
            return inputs.send(lambda: (of.noise_states(stream.seeds, stream.episodes, shape),))[0]

        return noise_states

    def move_on(self) -> None:
        """Let every group see its next image; its maps have been judged."""
        self._begin_episodes(np.ones(len(self._done), np.bool_))

    def _observe(self) -> Any:
        """The current observations (N, H, W, 3) uint8, freshly copied."""
        return self._export(self._observe_scenes(self._batch))

    def _observe_scenes(self, batch: SceneBatch[Any]) -> Any:
        """Observations (N, H, W, 3) uint8 of scenes, freshly copied."""
        return self._scenes.observe(batch, self.group_size, self._pool)

    def _begin_episodes(self, groups: np.ndarray, index: np.ndarray | None = None) -> None:
        """Move the groups in a (G,) mask to their next episode, of images `index` (G,) if given."""
        self._stream.advance(groups)
        if index is not None:
            self._stream.choose(groups, index)
        self._done = self._done > groups  # done, and not begun anew
        self._look_up()

    def _clear_pass(self) -> None:
        """Begin the pass over the split anew, where there is one."""
        if self._split_pass is not None:
            self._split_pass.clear()

    def _look_up(self) -> None:
        """Take the scenes that the stream's state means for the current ones."""
        self._current: SceneBatch[Any] | None = None
        self._shown: tuple[SceneBatch[Any], Any] | None = None

    @property
    def _batch(self) -> SceneBatch[Any]:
        """The current scenes, drawn when they are asked for."""
        if self._current is None:
            self._current = self._scenes_of()
        return self._current

    def _scenes_of(self, groups: np.ndarray | None = None) -> SceneBatch[Any]:
        """The scenes of all groups, or of those with numbers (g,), drawn anew."""
        if self._on_cpu:  # arrays: wrapping them would take a small environment most of its time
            return self._stream.batch_of_arrays(groups)
        return self._stream.tell(self._inputs, groups)

    def _export(self, values: np.ndarray | torch.Tensor) -> Any:
        """Give values in the kind of array asked for, on the environment's device."""
        if self._numpy:
            return values if isinstance(values, np.ndarray) else values.numpy()
        return to_device(values, self.device) if isinstance(values, np.ndarray) else values

    def _frames(self) -> tuple[np.ndarray, ...] | None:
        """The last judged image of each sub-environment under its finest action map.

        Returns:
            N frames (H, W, 3) uint8; images alone before the first step; None without a mode, and
            with one that shows them in a window.
        """
        self._require_open()
        return None if self.render_mode in (None, "human") else self._draw()

    def _show(self) -> None:
        """Show the same in the window, where there is one."""
        if self._window is not None:
            self._window.show(self._draw())

    def _close_window(self) -> None:
        if self._window is not None:
            self._window.close()

    def _draw(self) -> tuple[np.ndarray, ...]:
        batch, shown = self._shown or (self._batch, None)
        images = as_tensor(self._scenes.observe(batch, self.group_size)).cpu().numpy()
        if shown is None:
            return tuple(images)
        maps = self._painted(shown).cpu().numpy()
        return tuple(
            image if (drawn == VOID).all() else overlay(image, drawn, self.palette)
            for image, drawn in zip(images, maps, strict=True)
        )

    def _painted(self, shown: Any) -> torch.Tensor:
        """The finest maps of parsed actions, painted onto pixels: (N, H, W) uint8."""
        finest = len(self.geometry.scales) - 1
        return self.geometry.upsample(self.geometry.split(as_tensor(shown))[finest], finest)
