"""The environment of one, as a `gymnasium.Env`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.error import ResetNeeded

from rss_env.arguments import check_reset_options, index_of_groups, seeds_of_groups
from rss_env.errors import ActionError, InputError
from rss_env.segmentation_task import METADATA, SegmentationTask

_ALL = np.ones(1, np.bool_)  # the groups of an environment of one


class RSSEnv(SegmentationTask, gym.Env[Any, Any]):
    """Semantic segmentation of one image at a time, rewarded by scores."""

    metadata: dict[str, Any] = METADATA

    def __init__(self, **arguments: Any):
        """Open the data set and lay out the spaces.

        Args:
            **arguments: Those of `SegmentationTask`.

        Raises:
            InputError: If an argument is invalid or the data cannot be used.
        """
        for name in ("num_envs", "group_size"):
            if arguments.get(name, 1) != 1:
                raise InputError(
                    f"a single environment has {name}=1; use gym.make_vec for more, "
                    f"got {arguments[name]!r}"
                )
        if "autoreset_mode" in arguments:  # ignoring it would make every other step a dead one
            raise InputError(
                "a single environment is reset by its caller and takes no autoreset_mode; for "
                "vectorization_mode='sync' or 'async' give vector_kwargs={'autoreset_mode': "
                f"gymnasium.vector.AutoresetMode.SAME_STEP}}, got {arguments['autoreset_mode']!r}"
            )
        super().__init__(**arguments)
        # Gymnasium 1.2's vector environments write into that of their first sub-environment.
        self.metadata = dict(type(self).metadata)
        self.observation_space, self.action_space = self._spaces

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """See a new image.

        Args:
            seed: Starts the stream of images anew; None continues it.
            options: May hold `index`, the number of the image to be seen in this episode.

        Returns:
            Observation (H, W, 3) uint8, and an info: the `image_index` if it is asked for.

        Raises:
            InputError: If the seed is invalid or there is an option; nothing has changed then.
        """
        self._require_open()
        index = check_reset_options(options, ("index",)).get("index")
        images = None if index is None else index_of_groups(index, self.num_images, 1, 1)
        if seed is not None:
            seeds_of_groups(seed, 1, 1)
            super().reset(seed=seed)
            self._stream.seed(0, seed)
            self._clear_pass()
        self._begin_episodes(_ALL, images)
        self._show()
        return self.observe(), self._told_number()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Score one action; the episode ends.

        Args:
            action: (cells,) integers, or a dict of (H/s, W/s) per scale.

        Returns:
            The same image again, the reward, terminated (True), truncated (False), and the info:
            `scale_scores` (S,), and if asked for `class_scores` (S, C); or `pixel_rewards`
            (cells,); float32. In an `evaluation` also `dataset_score` and `normalised_score`,
            float64; if asked for, `image_index`, int64.

        Raises:
            ActionError: If the action is invalid; nothing has changed then.
            BudgetSpentError: If `query_budget` has no scores left for it; likewise.
            ResetNeeded: If the episode is over.
        """
        self._require_open()
        self._require_first_reset()
        if self._done[0]:
            raise ResetNeeded("the episode is over; reset the environment")
        if isinstance(action, dict):
            batched = {name: _add_batch_axis(part) for name, part in action.items()}
        else:
            batched = _add_batch_axis(action)
        outcome = self._play(self._parse(batched))
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._done[0] = terminated or truncated
        self._shown = outcome.shown
        self._show()
        told = outcome.infos if outcome.told[0] else {}
        info = {name: self._export(values)[0, ...] for name, values in told.items()}
        info |= self._told_number()
        return self.observe(), float(outcome.rewards[0]), terminated, truncated, info

    def _told_number(self) -> dict[str, Any]:
        """The number of the current image, as an info."""
        if not self._tells_index:
            return {}
        return {name: part[0] for name, part in self._told_index().items() if name[0] != "_"}

    def observe(self) -> Any:
        """The current observation (H, W, 3) uint8, freshly copied."""
        batch = self._observe()
        if isinstance(batch, dict):
            return {name: part[0] for name, part in batch.items()}
        return batch[0]

    def render(self) -> Any:
        """The current image, under the finest action map once there is one: (H, W, 3) uint8."""
        frames = self._frames()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the environment; more than once does no harm."""
        self._close_window()
        self.closed = True


def _add_batch_axis(part: Any) -> Any:
    if isinstance(part, torch.Tensor):
        return part[None]
    try:
        return np.asarray(part)[None]
    except ValueError as error:
        raise ActionError(f"action is not a rectangular array: {error}") from None
