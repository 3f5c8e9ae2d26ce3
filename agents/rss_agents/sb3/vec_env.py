"""Our vector environment as Stable-Baselines3's: one step for all, lists of dicts for infos."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from rss_env.arguments import check_reset_options, index_of_groups
from rss_env.errors import InputError, check_choice
from rss_env.registration import SEQUENCE_NAMES, environment_ids
from rss_env.vector_env import RSSVectorEnv

# What SB3 needs: episodes that follow one another, NumPy arrays, one flat MultiDiscrete. Sequences
# have no other, and take no format.
_REQUIRED = {"autoreset_mode": "SameStep", "array": "numpy", "action_format": "flat"}
_OF_THE_ID = ("dataset", "level")
_METHODS = ("render", "get_state", "set_state", "action_masks")


class RSSVecEnv(VecEnv):
    """A vector environment of this package behind Stable-Baselines3's interface.

    It gives the transitions that `DummyVecEnv` of single environments gives, each wrapped in a
    `Monitor`: an episode that ends tells its return and length under `episode`, and its last
    observation under `terminal_observation`.

    Attributes:
        env: The vector environment; all sub-environments are this one.
    """

    def __init__(self, env: RSSVectorEnv):
        """Take over an environment that `make_sb3_env` made."""
        self.env = env
        self._actions: npt.NDArray[np.integer] | None = None
        self._start = time.monotonic()
        self._returns, self._lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    # --- transitions ---

    def reset(self) -> Any:
        """Start an episode everywhere, with the seeds of `seed` if it was called since the last.

        Options of `set_options` are used as well, and forgotten like the seeds.

        Returns:
            Observations (N, H, W, 3) uint8; of sequences dicts.
        """
        seeded = any(seed is not None for seed in self._seeds)
        index = [options["index"] for options in self._options if options]
        observations, infos = self.env.reset(
            seed=self._seeds if seeded else None,
            options={"index": np.array(index)} if index else None,
        )
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = self._list(infos)
        self._returns[:], self._lengths[:] = 0.0, 0
        return observations

    def _list(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """Infos of each sub-environment."""
        listed: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for name, values in infos.items():
            if name[0] != "_" and name not in ("final_obs", "final_info"):
                for i in np.flatnonzero(infos[f"_{name}"]).tolist():
                    listed[i][name] = values[i]
        return listed

    def step_async(self, actions: npt.NDArray[np.integer]) -> None:
        """Keep the actions (N, cells) for `step_wait`."""
        self._actions = actions

    def step_wait(  # type: ignore[override]
        self,
    ) -> tuple[Any, npt.NDArray[np.float32], npt.NDArray[np.bool_], list[dict[str, Any]]]:
        """Score the actions; where an episode ends the next begins.

        Returns:
            Observations (N, H, W, 3) uint8, of sequences dicts; rewards (N,) float32; dones (N,);
            an info for each sub-environment: what the environment tells of scores, and where an
            episode ends `terminal_observation` and `episode`.

        Raises:
            ActionError: If the actions are invalid; nothing has changed then.
        """
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        rewards, elapsed = rewards.astype(np.float32), round(time.monotonic() - self._start, 6)
        dones = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        listed, begun = self._list(infos), self._list(infos.get("final_info", {}))
        for i, info in enumerate(listed):
            if dones[i]:  # what stands at the top level is of the next episode
                self.reset_infos[i], info = info, begun[i]
                info["terminal_observation"] = _row(infos["final_obs"], i)
                length, total = int(self._lengths[i]), float(self._returns[i])
                info["episode"] = {"r": total, "l": length, "t": elapsed}
                listed[i] = info
            info["TimeLimit.truncated"] = bool(truncated[i])
        self._returns[dones], self._lengths[dones] = 0.0, 0
        return observations, rewards, dones, listed

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the next reset: neighbours in a group share a seed, the next group has the next.

        Args:
            seed: Of the first group; None draws one.

        Returns:
            The seed of each sub-environment.
        """
        first = super().seed(seed)[0]
        assert first is not None
        self._seeds = [first + i // self.env.group_size for i in range(self.num_envs)]
        return self._seeds

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Set options of the next reset: the `index` of the image that each is to show, or none.

        Raises:
            InputError: If there is another option, or only some are given one; nothing has changed
                then.
        """
        each = options if isinstance(options, list) else [options or {}] * self.num_envs
        if len(each) != self.num_envs:
            raise InputError(f"options needs {self.num_envs} entries, got {len(each)}")
        for entry in each:
            check_reset_options(entry, ("index",))
        chosen = [entry["index"] for entry in each if entry]
        if chosen and len(chosen) < self.num_envs:
            raise InputError(f"options must name an image for every sub-environment, got {each!r}")
        if chosen:
            env = self.env
            index_of_groups(np.array(chosen), env.num_images, env.num_envs, env.group_size)
        super().set_options(options)

    def close(self) -> None:
        """Close the environment; more than once does no harm."""
        self.env.close()

    # --- sub-environments by index ---

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the chosen sub-environments, as single environments have it.

        Raises:
            AttributeError: If there is no such attribute.
        """
        is_space = attr_name in ("observation_space", "action_space")
        value = getattr(self.env, f"single_{attr_name}" if is_space else attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all sub-environments.

        Raises:
            InputError: If only some are chosen: they are one environment.
        """
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise InputError(
                f"{attr_name} can be set for all sub-environments only, got indices {indices!r}"
            )
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call `render`, `get_state`, `set_state` or `action_masks` of the chosen ones.

        States are those of single environments; those of a group go together.

        Raises:
            InputError: If it is another method, or a state that does not fit.
        """
        check_choice("method of sub-environments", method_name, _METHODS)
        chosen = list(self._get_indices(indices))
        if method_name == "render":
            frames = self.get_images()
            return [frames[i] for i in chosen]
        if method_name == "action_masks":
            masks = getattr(self.env, method_name)()
            return [masks[i] for i in chosen]
        groups = [i // self.env.group_size for i in chosen]
        states = self.env.get_state()
        if "seen" in states:
            raise InputError(
                "an evaluation is one pass of all sub-environments: use get_state and set_state of "
                "`.env`"
            )
        if method_name == "get_state":
            return [{key: [part[group]] for key, part in states.items()} for group in groups]
        return self._set_states(groups, states, *method_args, **method_kwargs)

    def _set_states(
        self, groups: list[int], states: dict[str, list[int]], state: dict[str, list[int]]
    ) -> list[None]:
        """Put the chosen groups into a single environment's state."""
        same = isinstance(state, dict) and set(state) == set(states)
        if not same or any(len(part) != 1 for part in state.values()):
            raise InputError(
                f"state must be of one environment, with {list(states)}, got {state!r}"
            )
        for key, part in states.items():
            for group in groups:
                part[group] = state[key][0]
        self.env.set_state(states)
        return [None] * len(groups)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Tell whether sub-environments do what the wrapper does: true of `Monitor` alone."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """The last judged image of each sub-environment under its finest map, (H, W, 3) uint8."""
        frames = self.env.render()
        if frames is None:
            warnings.warn("make the environment with render_mode='rgb_array'", stacklevel=2)
            return [None] * self.num_envs
        return frames


def make_sb3_env(
    environment_id: str, num_envs: int = 64, *, seed: int | None = None, **options: Any
) -> RSSVecEnv:
    """Make the environments of an id for Stable-Baselines3.

    Args:
        environment_id: Such as `RSS/Shapes-ImageReward-v0`.
        num_envs: N, a multiple of `group_size`.
        seed: Of the first reset; None draws one.
        **options: Of `gym.make_vec` for this id: `root`, `scales`, `metric`, `feedback`, `scorer`,
            `group_size` and so on.

    Raises:
        InputError: If the id or an option is invalid, or one is not what SB3 can take.
    """
    check_choice("environment", environment_id, environment_ids())
    needed = dict(_REQUIRED)
    if environment_id in environment_ids(SEQUENCE_NAMES):
        del needed["action_format"]
    for name, required in needed.items():
        if options.get(name, required) != required:
            raise InputError(f"Stable-Baselines3 needs {name}={required!r}, got {options[name]!r}")
    arguments: dict[str, Any] = options | needed
    made = gym.make_vec(environment_id, num_envs=num_envs, **arguments)
    env = RSSVecEnv(cast(RSSVectorEnv, made.unwrapped))
    if seed is not None:
        env.seed(seed)
    return env


def as_one(singles: VecEnv, group_size: int = 1) -> RSSVecEnv:
    """The environments of an SB3 `DummyVecEnv` as one, for programs that make singles themselves.

    RL Zoo does; it takes this function for a `vec_env_wrapper`.

    Args:
        singles: Environments that `gym.make` made of one id; they are closed.
        group_size: K, where it divides their number; an environment for evaluation may have fewer,
            and with `evaluation` each image is shown once.

    Raises:
        InputError: If they are not of this package.
    """
    spec, num_envs = singles.get_attr("spec")[0], singles.num_envs
    options = {name: value for name, value in spec.kwargs.items() if name not in _OF_THE_ID}
    is_alone = num_envs % group_size or options.get("evaluation") is not None
    options["group_size"] = 1 if is_alone else group_size
    env = make_sb3_env(spec.id, num_envs, **options)
    singles.close()
    return env


def _row(observations: Any, i: int) -> Any:
    """One observation of a batch of arrays or of a dict of them."""
    if isinstance(observations, dict):
        return {name: part[i] for name, part in observations.items()}
    return observations[i]
