"""Faults in how episodes begin and end."""

from __future__ import annotations

import numpy as np

from planted_faults.fault import DISABLED, NEXT, breaks
from toy_vector_env import ToyVectorEnv


@breaks("episodes_take_one_step", one_step=True)
class TruncatesItsOneStep(ToyVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        return observations, rewards, truncated, terminated, infos


@breaks("episodes_take_one_step", one_step=True)
class TakesTwoSteps(ToyVectorEnv):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.one_step = False


@breaks("same_step_gives_final_observations")
class ForgetsFinalObservations(ToyVectorEnv):
    def finals(self, over, infos):
        infos = super().finals(over, infos)
        return {k: v for k, v in infos.items() if k not in ("final_obs", "_final_obs")}


@breaks("same_step_gives_final_observations")
class MaskOfFinalsIsFull(ToyVectorEnv):
    def finals(self, over, infos):
        infos = super().finals(over, infos)
        return {**infos, "_final_obs": np.ones_like(over)} if over.any() else infos


@breaks("same_step_gives_final_infos")
class ForgetsFinalInfos(ToyVectorEnv):
    def finals(self, over, infos):
        infos = super().finals(over, infos)
        return {k: v for k, v in infos.items() if k not in ("final_info", "_final_info")}


@breaks("final_observations_are_in_their_space")
class FinalObservationsAreEmpty(ToyVectorEnv):
    def finals(self, over, infos):
        infos = super().finals(over, infos)
        empty = np.full((self.num_envs, 2), np.nan, np.float32)
        return {**infos, "final_obs": empty} if over.any() else infos


@breaks("new_episodes_are_shown")
class ShowsTheOldEpisode(ToyVectorEnv):
    def step(self, actions):
        observations, *rest, infos = super().step(actions)
        if "final_obs" in infos:
            over = infos["_final_obs"]
            observations = np.where(over[:, None], infos["final_obs"], observations)
        return (observations, *rest, infos)


@breaks("dead_steps_are_empty", mode=NEXT)
class RewardsDeadSteps(ToyVectorEnv):
    def reward(self, alive):
        return self.position.astype(np.float64)


@breaks("dead_steps_ignore_actions", mode=NEXT)
class DeadStepsReadActions(ToyVectorEnv):
    def step(self, actions):
        over = self.over.copy()
        _observations, *rest = super().step(actions)
        self.position[over] += 0.1 * np.asarray(actions)[over]
        return (self.observe(), *rest)


@breaks("over_episodes_refuse_steps", mode=DISABLED)
class StepsOnAfterTheEnd(ToyVectorEnv):
    def check_ready(self):
        if (self.age < 0).any():
            raise RuntimeError("reset first")


@breaks("steps_before_the_first_reset_are_refused")
class StepsBeforeItsReset(ToyVectorEnv):
    def check_ready(self):
        if (self.age < 0).any():
            self.begin(np.ones(self.num_envs, np.bool_))


@breaks("reset_masks_restart_only_their_own", mode=DISABLED)
class MaskRestartsAll(ToyVectorEnv):
    def check_mask(self, mask):
        return np.ones_like(super().check_mask(mask))


@breaks("bad_reset_masks_are_refused", mode=DISABLED)
class EmptyMaskIsTaken(ToyVectorEnv):
    def check_mask(self, mask):
        if isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and not mask.any():
            return mask
        return super().check_mask(mask)


@breaks("bad_reset_masks_change_nothing", mode=DISABLED)
class BadMaskRestarts(ToyVectorEnv):
    def check_mask(self, mask):
        try:
            return super().check_mask(mask)
        except ValueError:
            self.begin(np.ones(self.num_envs, np.bool_))
            raise
