"""One environment as a `gymnasium.Env`: a view of a vector environment of one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from rss_env.arguments import check_autoreset_mode, seeds_of_groups
from rss_env.errors import ActionError, InputError
from rss_env.vector_env import RSSVectorEnv


class RSSEnv(gym.Env[Any, Any]):
    """Semantic segmentation of one image at a time, rewarded by scores.

    Takes the arguments of `RSSVectorEnv`. `autoreset_mode` is accepted, so that one set of
    arguments serves both, and has no effect: a single environment is reset by its caller.
    """

    metadata: dict[str, Any] = RSSVectorEnv.metadata

    def __init__(self, *, autoreset_mode: Any = "SameStep", **arguments: Any):
        """Open the data set and lay out the spaces; see `RSSVectorEnv`.

        Raises:
            InputError: If an argument is invalid or the data cannot be used.
        """
        check_autoreset_mode(autoreset_mode)
        if arguments.get("group_size", 1) != 1:
            raise InputError(
                "a single environment has group_size=1; use gym.make_vec for groups of maps"
            )
        self._vector = RSSVectorEnv(1, autoreset_mode="Disabled", **arguments)
        # Gymnasium 1.2's vector environments write into that of their first sub-environment.
        self.metadata = dict(type(self).metadata)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self.render_mode = self._vector.render_mode
        self.geometry, self.class_names = self._vector.geometry, self._vector.class_names

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """See a new image.

        Args:
            seed: Starts the stream of images anew; None continues it.
            options: There are none; a dict must be empty.

        Returns:
            Observation (H, W, 3) uint8 and an empty info.

        Raises:
            InputError: If the seed is invalid or there is an option; nothing has changed then.
        """
        if options:
            raise InputError(f"a single environment takes no reset options, got {options!r}")
        seeds_of_groups(seed, 1, 1)
        super().reset(seed=seed)
        observations, _ = self._vector.reset(seed=seed)
        return observations[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Score one action; the episode ends.

        Args:
            action: (cells,) integers, or a dict of (H/s, W/s) per scale.

        Returns:
            The same image again, the reward, terminated (True), truncated (False), and the info:
            `scale_scores` (S,) or `pixel_rewards` (cells,), float32.

        Raises:
            ActionError: If the action is invalid; nothing has changed then.
            ResetNeeded: If the episode is over.
        """
        if isinstance(action, dict):
            batched = {name: _add_batch_axis(part) for name, part in action.items()}
        else:
            batched = _add_batch_axis(action)
        observations, rewards, terminated, truncated, infos = self._vector.step(batched)
        info = {name: value[0] for name, value in infos.items() if not name.startswith("_")}
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """The current image, under the finest action map once there is one: (H, W, 3) uint8."""
        frames = self._vector.render()
        return None if frames is None else frames[0]

    def get_state(self) -> dict[str, list[int]]:
        """Everything that decides what comes next, as lists of integers (JSON-able)."""
        return self._vector.get_state()

    def set_state(self, state: dict[str, list[int]]) -> None:
        """Continue exactly from a state of `get_state`."""
        self._vector.set_state(state)

    def close(self) -> None:
        """Close the environment; more than once does no harm."""
        self._vector.close()


def _add_batch_axis(part: Any) -> Any:
    if isinstance(part, torch.Tensor):
        return part[None]
    try:
        return np.asarray(part)[None]
    except ValueError as error:
        raise ActionError(f"action is not a rectangular array: {error}") from None
