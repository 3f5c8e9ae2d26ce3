"""A vector environment that keeps the whole contract, small enough to break in one place.

A walk on numbers: an action -1, 0 or +1 and a random shove move a position; the episode ends after
two to four steps, or terminates early at the edge. `tests/test_checker.py` plants faults in it.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

EDGE = 2.0


class ToyVectorEnv(VectorEnv[Any, Any, Any]):
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        mode: AutoresetMode = AutoresetMode.SAME_STEP,
        *,
        torch_arrays: bool = False,
        one_step: bool = False,
    ):
        self.num_envs, self.autoreset_mode = num_envs, mode
        self.torch_arrays, self.one_step = torch_arrays, one_step
        self.metadata = {**type(self).metadata, "autoreset_mode": mode}
        self.render_mode = "rgb_array"
        self.single_observation_space = spaces.Box(-10, 10, (2,), np.float32)
        self.single_action_space = spaces.Discrete(3, start=-1)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.random = [np.random.default_rng() for _ in range(num_envs)]
        self.position = np.zeros(num_envs, np.float32)
        self.age, self.length = np.full(num_envs, -1), np.ones(num_envs, np.int64)
        self.over = np.zeros(num_envs, np.bool_)

    # --- what faults override ---

    def check_open(self) -> None:
        if self.closed:
            raise gym.error.ClosedEnvironmentError("closed")

    def check_mask(self, mask: Any) -> Any:
        legal = isinstance(mask, np.ndarray) and mask.shape == (self.num_envs,)
        if not legal or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(f"bad reset_mask {mask!r}")
        return mask

    def check_seeds(self, seed: Any) -> list[int | None]:
        if seed is None or isinstance(seed, int):
            seed = [None if seed is None else seed + i for i in range(self.num_envs)]
        if not isinstance(seed, list) or len(seed) != self.num_envs:
            raise ValueError(f"bad seed {seed!r}")
        for value in seed:
            if value is not None and (not isinstance(value, int) or value < 0):
                raise ValueError(f"bad seed {value!r}")
        return seed

    def check_actions(self, actions: Any) -> np.ndarray:
        if self.torch_arrays and isinstance(actions, torch.Tensor):
            if actions.device.type != "cpu":
                raise ValueError("actions on another device")
            actions = actions.numpy()
        if not self.action_space.contains(actions):
            raise ValueError(f"bad actions {actions!r}")
        return actions

    def check_ready(self) -> None:
        if (self.age < 0).any():
            raise gym.error.ResetNeeded("reset first")
        if self.autoreset_mode is AutoresetMode.DISABLED and self.over.any():
            raise gym.error.ResetNeeded("reset what is over")

    def begin(self, which: np.ndarray) -> None:
        for i in np.flatnonzero(which):
            self.position[i] = self.random[i].uniform(-1, 1)
            self.age[i], self.length[i] = 0, 1 if self.one_step else self.random[i].integers(2, 5)
        self.over = self.over & ~which

    def move(self, which: np.ndarray, actions: np.ndarray) -> None:
        for i in np.flatnonzero(which):
            self.position[i] += actions[i] + self.random[i].uniform(-1, 1)
            self.age[i] += 1

    def observe(self) -> np.ndarray:
        return np.stack([self.position, self.age], 1).astype(np.float32)

    def reward(self, alive: np.ndarray) -> np.ndarray:
        return np.where(alive, self.position, 0.0).astype(np.float64)

    def live_infos(self, alive: np.ndarray) -> dict[str, Any]:
        return {"age": np.where(alive, self.age, 0), "_age": alive.copy()}

    def finals(self, over: np.ndarray, infos: dict[str, Any]) -> dict[str, Any]:
        if not over.any():
            return infos
        return {
            **infos,
            "final_obs": self.observe(), "_final_obs": over.copy(),
            "final_info": {"age": np.where(over, self.age, 0), "_age": over.copy()},
            "_final_info": over.copy(),
        }  # fmt: skip

    def export(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.export(part) for key, part in value.items()}
        return torch.from_numpy(value) if self.torch_arrays else value

    # --- Gymnasium's interface ---

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        self.check_open()
        mask = np.ones(self.num_envs, np.bool_)
        if options is not None and "reset_mask" in options:
            mask = self.check_mask(options["reset_mask"])
        for i, value in enumerate(self.check_seeds(seed)):
            if value is not None and mask[i]:
                self.random[i] = np.random.default_rng(value)
        self.begin(mask)
        return self.export(self.observe()), {}

    def step(self, actions: Any) -> Any:
        self.check_open()
        self.check_ready()
        actions = self.check_actions(actions)
        alive = ~self.over
        self.move(alive, actions)
        truncated = alive & (self.age >= self.length)
        terminated = alive & (np.abs(self.position) > EDGE)
        if self.one_step:
            terminated, truncated = truncated, np.zeros_like(truncated)
        rewards, over = self.reward(alive), terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            infos = self.finals(over, self.live_infos(alive & ~over))
            self.begin(over)
        else:
            infos = self.live_infos(alive)
            if self.autoreset_mode is AutoresetMode.NEXT_STEP:
                self.begin(~alive)
            self.over = over
        return (
            self.export(self.observe()),
            self.export(rewards),
            self.export(terminated.copy()),
            self.export(truncated.copy()),
            self.export(infos),
        )

    def render(self) -> Any:
        return tuple(np.zeros((8, 8, 3), np.uint8) for _ in range(self.num_envs))

    def get_state(self) -> Any:
        return {
            "random": [generator.bit_generator.state for generator in self.random],
            "position": self.position.copy(),
            "age": self.age.copy(),
            "length": self.length.copy(),
            "over": self.over.copy(),
        }

    def set_state(self, state: Any) -> None:
        for generator, value in zip(self.random, state["random"], strict=True):
            generator.bit_generator.state = value
        self.position, self.age = state["position"].copy(), state["age"].copy()
        self.length, self.over = state["length"].copy(), state["over"].copy()


class ToyEnv(gym.Env[Any, Any]):
    """The single environment that each sub-environment of the toy equals."""

    metadata: dict[str, Any] = ToyVectorEnv.metadata

    def __init__(self, one_step: bool = False):
        self.vector = ToyVectorEnv(1, AutoresetMode.DISABLED, one_step=one_step)
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self.render_mode = "rgb_array"

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self.vector.reset(seed=seed)[0][0], {}

    def step(self, action: Any) -> Any:
        observations, rewards, terminated, truncated, infos = self.vector.step(np.array([action]))
        return (
            observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]),
            {"age": int(infos["age"][0])},
        )  # fmt: skip
