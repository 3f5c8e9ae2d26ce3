"""Faults in memory, bad input, closing, copies and wrappers."""

from __future__ import annotations

import copy

import numpy as np

from planted_faults.fault import DISABLED, breaks
from toy_vector_env import ToyVectorEnv


@breaks("results_stay_as_they_were")
class ReusesItsBuffer(ToyVectorEnv):
    def observe(self):
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros((self.num_envs, 2), np.float32)
        self.buffer[:] = super().observe()
        return self.buffer.copy() if self.in_finals else self.buffer

    in_finals = False

    def finals(self, over, infos):
        self.in_finals = True
        infos = super().finals(over, infos)
        self.in_finals = False
        return infos


@breaks("results_may_be_written_to")
class ReadsWhatItGave(ToyVectorEnv):
    def step(self, actions):
        given = getattr(self, "given", None)
        if given is not None:
            self.position = given[:, 0].copy()
        result = super().step(actions)
        self.given = result[0]
        return result

    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed, options=options)
        self.given = result[0]
        return result

    def set_state(self, state):
        super().set_state(state)
        self.given = self.observe()


@breaks("arguments_are_left_alone")
class WritesToActions(ToyVectorEnv):
    def step(self, actions):
        result = super().step(actions)
        actions[...] = 0
        return result


@breaks("arguments_are_left_alone", mode=DISABLED)
class TakesTheMaskOut(ToyVectorEnv):
    def reset(self, *, seed=None, options=None):
        result = super().reset(seed=seed, options=options)
        if options is not None:
            options.pop("reset_mask", None)
        return result


@breaks("bad_actions_are_refused")
class ClampsActions(ToyVectorEnv):
    def check_actions(self, actions):
        if isinstance(actions, np.ndarray) and actions.dtype == np.int64:
            actions = actions.clip(-1, 1)
        return super().check_actions(actions)


@breaks("bad_actions_change_nothing")
class DrawsBeforeItChecks(ToyVectorEnv):
    def check_actions(self, actions):
        state = copy.deepcopy(self.random[0].bit_generator.state)
        self.random[0].random()
        actions = super().check_actions(actions)
        self.random[0].bit_generator.state = state
        return actions


@breaks("closing_twice_is_harmless")
class ClosesOnce(ToyVectorEnv):
    def close(self, **options):
        if self.closed:
            raise RuntimeError("closed already")
        super().close(**options)


@breaks("closed_environments_refuse")
class StepsWhenClosed(ToyVectorEnv):
    def check_open(self):
        pass


@breaks("pickled_copies_run_alike")
class CannotBePickled(ToyVectorEnv):
    def __getstate__(self):
        raise TypeError("holds a socket")


@breaks("pickled_copies_continue")
class PickleForgets(ToyVectorEnv):
    def __getstate__(self):
        random = [np.random.default_rng() for _ in range(self.num_envs)]
        return {**self.__dict__, "random": random}


@breaks("states_continue_exactly")
class StateIsPartial(ToyVectorEnv):
    def set_state(self, state):
        super().set_state({**state, "age": np.zeros_like(state["age"])})


@breaks("states_continue_exactly")
class StateIsAView(ToyVectorEnv):
    def get_state(self):
        return {**super().get_state(), "age": self.age}


@breaks("vector_wrappers_work")
class InfosAreNotArrays(ToyVectorEnv):
    def live_infos(self, alive):
        return {**super().live_infos(alive), "age": super().live_infos(alive)["age"].tolist()}
