"""The environment of many: a batch of images in, multi-scale action maps back, scores out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rss_env.arguments import (
    check_reset_options,
    index_of_groups,
    mask_of_groups,
    seeds_of_groups,
)
from rss_env.arrays import as_array, kept_where
from rss_env.captured_step import CapturedStep, can_capture
from rss_env.outcome import Outcome
from rss_env.segmentation_task import METADATA, SegmentationTask

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class RSSVectorEnv(SegmentationTask, VectorEnv[Any, Any, Any]):
    """Semantic segmentation of N images at a time, rewarded by scores.

    Attributes:
        autoreset_mode: Gymnasium's autoreset mode.
    """

    metadata: dict[str, Any] = METADATA

    def __init__(self, num_envs: int = 1, **arguments: Any):
        """Open the data set and lay out the spaces.

        Args:
            num_envs: N, a multiple of `group_size`.
            **arguments: Those of `SegmentationTask`.

        Raises:
            InputError: If an argument is invalid or the data cannot be used.
        """
        super().__init__(num_envs, **arguments)
        self.num_envs, self.autoreset_mode = self._num_envs, self._autoreset_mode
        self.single_observation_space, self.single_action_space = self._spaces
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._captured: dict[torch.dtype, CapturedStep] = {}  # by the actions' type
        self._captures = can_capture(self)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episode of every sub-environment, or of those in a mask.

        Args:
            seed: Seed s gives sub-environment i the seed s + i // group_size; a list names each
                (alike within a group). None continues the streams.
            options: May hold `reset_mask`, a boolean array (num_envs,) of whole groups; and
                `index`, the number of the image to be seen in this episode, or an array of one for
                each sub-environment, alike within a group.

        Returns:
            Observations (N, H, W, 3) uint8, and infos: the `image_index` if it is asked for.

        Raises:
            InputError: If a seed or an option is invalid; nothing has changed then.
            ResetNeeded: If the first reset is a partial one.
        """
        self._require_open()
        chosen = check_reset_options(options, ("reset_mask", "index"))
        mask = chosen.get("reset_mask")
        index = index_of_groups(
            chosen.get("index"), self.num_images, self.num_envs, self.group_size
        )
        groups = mask_of_groups(mask, self.num_envs, self.group_size)
        if mask is not None and (self._stream.episodes[~groups] < 0).any():
            raise ResetNeeded("the first reset must reset every sub-environment")
        if seed is not None:
            seeds = seeds_of_groups(seed, self.num_envs, self.group_size)
            if isinstance(seed, int):
                super().reset(seed=seed)
            for group, new_seed in enumerate(seeds):
                if groups[group] and new_seed is not None:
                    self._stream.seed(group, new_seed)
            self._clear_pass()
        self._begin_episodes(groups, index)
        self._show()
        members = None if mask is None else np.repeat(groups, self.group_size)
        return self.observe(), self._told_index(members)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Score one action per sub-environment; every live episode ends.

        Args:
            actions: (N, cells) integers, or a dict of (N, H/s, W/s) per scale.

        Returns:
            Observations (N, H, W, 3) uint8; rewards (N,), float64 arrays or float32 tensors;
            terminated and truncated (N,) bool; infos. Under SAME_STEP the scores are in
            `infos["final_info"]`, otherwise at the top level: `scale_scores` (N, S), and if asked
            for `class_scores` (N, S, C) with NaN for classes that a score leaves out; or
            `pixel_rewards` (N, cells); float32. In an `evaluation` also `dataset_score` and
            `normalised_score` (N,) float64. If asked for, `image_index` (N,) int64, of what was
            judged; under SAME_STEP, that of the new images is at the top level.

        Raises:
            ActionError: If the actions are invalid; nothing has changed then.
            BudgetSpentError: If `query_budget` has no scores left for them; likewise.
            ResetNeeded: If an episode is over and autoreset is disabled.
        """
        self._require_open()
        self._require_first_reset()
        dead = self._done  # under NEXT_STEP these reset now, and their actions are ignored
        some_dead = np.count_nonzero(dead) > 0
        if some_dead and self.autoreset_mode == AutoresetMode.DISABLED:
            over = np.flatnonzero(np.repeat(self._done, self.group_size))
            raise ResetNeeded(f"episodes of sub-environments {over.tolist()} are over; reset them")
        if self._captures and self._is_flat(actions):
            return self._step_at_once(actions)
        outcome = self._play(self._parse(actions))
        over = outcome.terminated | outcome.truncated
        ended = over[:: self.group_size]  # a group's episodes end together
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            infos = self._tell(outcome, ~over)
            if np.count_nonzero(over):
                infos |= {
                    "final_obs": self.observe(),
                    "_final_obs": self._export(over),
                    "final_info": self._tell(outcome, over) | self._told_index(over),
                    "_final_info": self._export(over.copy()),
                }
            begun = dead | ended
        else:
            infos, begun = self._tell(outcome, outcome.told), dead
        if np.count_nonzero(begun):
            self._begin_episodes(begun)
        if self.autoreset_mode != AutoresetMode.SAME_STEP:
            self._done = ended
        infos |= self._told_index()
        if outcome.shown is not None and self.render_mode is not None:
            self._shown = outcome.shown  # what was judged: a new episode has no map to show yet
            self._show()
        rewards = outcome.rewards
        return (
            self.observe(),
            as_array(rewards).astype(np.float64) if self._numpy else self._export(rewards),
            self._export(outcome.terminated.copy()),
            self._export(outcome.truncated.copy()),
            infos,
        )

    def _is_flat(self, actions: Any) -> bool:
        """Tell whether actions are a tensor of the shape, type and device that steps are for."""
        return (
            isinstance(actions, torch.Tensor)
            and self._action_format == "flat"
            and tuple(actions.shape) == (self.num_envs, self.geometry.num_cells)
            and actions.device == self.device
            and actions.dtype in _INTEGERS
        )

    def _step_at_once(self, actions: torch.Tensor) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Do a step as `step` does where every episode ends and the next begins, with less ado."""
        if actions.dtype not in self._captured:
            self._captured[actions.dtype] = CapturedStep(self, actions)
        verdict, shown = self._captured[actions.dtype](actions)

        # Masks of what is told of all, each in memory of its own, and filled at once.
        terminated, of_obs, of_info, *of_names = torch.ones(
            3 + len(verdict.infos), self.num_envs, dtype=torch.bool, device=self.device
        )
        told: dict[str, Any] = {}
        for (name, scores), mask in zip(verdict.infos.items(), of_names, strict=True):
            told[name], told[f"_{name}"] = scores, mask
        infos = {
            "final_obs": shown,
            "_final_obs": of_obs,
            "final_info": told,
            "_final_info": of_info,
        }
        truncated = torch.zeros_like(terminated)
        return self.observe(), verdict.rewards, terminated, truncated, infos

    def _tell(self, outcome: Outcome, which: np.ndarray) -> dict[str, Any]:
        """The outcome's infos on the sub-environments in a mask (N,), each with its own mask."""
        told = outcome.told & which
        count = np.count_nonzero(told)
        if not count:
            return {}
        infos: dict[str, Any] = {}
        for name, values in outcome.infos.items():
            if count < np.count_nonzero(outcome.told):
                values = kept_where(told, values)
            infos[name], infos[f"_{name}"] = self._export(values), self._export(told.copy())
        return infos

    def observe(self) -> Any:
        """The current observations (N, H, W, 3) uint8, freshly copied.

        Those of sequences are dicts; see `SequentialTask` for what they share.
        """
        return self._observe()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """The last judged image of each sub-environment under its finest action map.

        Returns:
            N frames (H, W, 3) uint8; images alone before the first step; None without a mode, and
            with one that shows them in a window.
        """
        return self._frames()

    def close_extras(self, **kwargs: Any) -> None:
        """Close the window, if there is one; `close` calls it."""
        self._close_window()
