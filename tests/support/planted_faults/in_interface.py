"""Faults in what is declared and returned."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from planted_faults.fault import NEXT, SAME, breaks
from toy_vector_env import ToyVectorEnv

# --- what is declared ---


@breaks("is_a_vector_env")
class CountsInNumPy(ToyVectorEnv):
    def __init__(self, num_envs, *args, **options):
        super().__init__(num_envs, *args, **options)
        self.num_envs = np.int64(num_envs)  # pyright: ignore[reportAttributeAccessIssue]


@breaks("spaces_are_batched")
class ActionSpaceIsOfOne(ToyVectorEnv):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.single_action_space, self.legal = spaces.Discrete(3, start=-1), self.action_space
        self.action_space = self.single_action_space

    def check_actions(self, actions):
        if not self.legal.contains(actions):
            raise ValueError("bad actions")
        return actions


@breaks("metadata_names_the_autoreset_mode")
class ModeIsText(ToyVectorEnv):
    def __init__(self, num_envs, mode=SAME, **options):
        super().__init__(num_envs, mode, **options)
        self.metadata["autoreset_mode"] = mode.value


@breaks("attribute_names_the_autoreset_mode")
class ModesDisagree(ToyVectorEnv):
    def __init__(self, num_envs, mode=SAME, **options):
        super().__init__(num_envs, mode, **options)
        self.metadata["autoreset_mode"] = mode
        self.autoreset_mode = NEXT

    def step(self, actions):
        self.autoreset_mode = SAME
        try:
            return super().step(actions)
        finally:
            self.autoreset_mode = NEXT


@breaks("render_mode_is_declared")
class RendersUndeclared(ToyVectorEnv):
    metadata = {"render_modes": ["human"], "render_fps": 1}  # noqa: RUF012


@breaks("render_gives_a_frame_each")
class RendersOneFrame(ToyVectorEnv):
    def render(self):
        return super().render()[:1]


@breaks("render_gives_a_frame_each")
class RendersFloats(ToyVectorEnv):
    def render(self):
        return tuple(frame / 255 for frame in super().render())


# --- what is returned ---


@breaks("reset_returns_a_pair")
class ResetGivesAList(ToyVectorEnv):
    def reset(self, *, seed=None, options=None):
        return list(super().reset(seed=seed, options=options))


@breaks("step_returns_five")
class StepGivesAList(ToyVectorEnv):
    def step(self, actions):
        return list(super().step(actions))


@breaks("observations_are_in_their_space", "final_observations_are_in_their_space")
class ObservesDoubles(ToyVectorEnv):
    def observe(self):
        return super().observe().astype(np.float64)


@breaks("observations_are_in_their_space")
class LeavesItsRange(ToyVectorEnv):
    def step(self, actions):
        observations, *rest = super().step(actions)
        return (observations + np.float32(20), *rest)


@breaks("rewards_are_finite_floats")
class RewardsAreIntegers(ToyVectorEnv):
    def reward(self, alive):
        return super().reward(alive).astype(np.int64)


@breaks("rewards_are_finite_floats")
class RewardsAreInfinite(ToyVectorEnv):
    def reward(self, alive):
        return np.where(self.position > 1, np.inf, super().reward(alive))


@breaks("flags_are_booleans")
class FlagsAreNumbers(ToyVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        return observations, rewards, terminated.astype(np.int8), truncated, infos


@breaks("arrays_are_of_one_kind", torch=True)
class RewardsStayInNumPy(ToyVectorEnv):
    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return (observations, rewards.numpy(), *rest)


@breaks("infos_have_masks")
class InfoWithoutMask(ToyVectorEnv):
    def live_infos(self, alive):
        return {"age": super().live_infos(np.ones_like(alive))["age"]}


@breaks("infos_have_masks")
class MaskIsOfNumbers(ToyVectorEnv):
    def live_infos(self, alive):
        infos = super().live_infos(alive)
        return {"age": infos["age"], "_age": infos["_age"].astype(np.int64)}


@breaks("infos_have_masks")
class InfoOfOne(ToyVectorEnv):
    def live_infos(self, alive):
        return {**super().live_infos(alive), "mean": np.zeros(1), "_mean": np.zeros_like(alive)}


@breaks("class_metadata_is_left_alone")
class WritesIntoItsClass(ToyVectorEnv):
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, num_envs, mode, **options):
        super().__init__(num_envs, mode, **options)
        del self.metadata  # the class's comes to light
        self.metadata["autoreset_mode"] = mode


@breaks("class_metadata_is_left_alone")
class UpdatesItsClassWhenItRuns(ToyVectorEnv):
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def reset(self, *, seed=None, options=None):
        type(self).metadata.update(render_fps=3)
        return super().reset(seed=seed, options=options)


@breaks("infos_have_masks")
class FinalObservationsWithoutMask(ToyVectorEnv):
    def finals(self, over, infos):
        infos = super().finals(over, infos)
        return {key: value for key, value in infos.items() if key != "_final_obs"}
