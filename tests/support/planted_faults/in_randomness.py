"""Faults in what seeds decide, and in what depends on what."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from planted_faults.fault import NEXT, breaks
from toy_vector_env import ToyVectorEnv


@breaks("same_seed_gives_the_same_run", mode=NEXT)
class SecondSeedIsAnother(ToyVectorEnv):
    """A used environment is not seeded as a new one is."""

    seeded = 0

    def check_seeds(self, seed: Any) -> list[int | None]:
        seeds = super().check_seeds(seed)
        if seed is None:
            return seeds
        self.seeded += 1
        return [None if value is None else value + 100 * self.seeded for value in seeds]


@breaks("seeds_make_a_difference")
class IgnoresSeeds(ToyVectorEnv):
    def check_seeds(self, seed: Any) -> list[int | None]:
        seeds = super().check_seeds(seed)
        return [None if value is None else i for i, value in enumerate(seeds)]


@breaks("unseeded_runs_differ")
class StartsFromAConstant(ToyVectorEnv):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.random = [np.random.default_rng(i) for i in range(self.num_envs)]


@breaks("sub_environments_differ")
class AllAreSeededAlike(ToyVectorEnv):
    def check_seeds(self, seed: Any) -> list[int | None]:
        if isinstance(seed, int):
            seed = [seed] * self.num_envs
        return super().check_seeds(seed)


@breaks("episodes_differ")
class RepeatsItsEpisodes(ToyVectorEnv):
    def begin(self, which):
        for i in np.flatnonzero(which):
            self.random[i] = np.random.default_rng(self.random[i].bit_generator.seed_seq)
        super().begin(which)

    def get_state(self):
        return {**super().get_state(), "generators": copy.deepcopy(self.random)}

    def set_state(self, state):
        super().set_state(state)
        self.random = copy.deepcopy(state["generators"])


@breaks("reset_continues_the_stream")
class ResetDrawsEntropy(ToyVectorEnv):
    def reset(self, *, seed=None, options=None):
        if seed is None:
            self.random = [np.random.default_rng() for _ in range(self.num_envs)]
        return super().reset(seed=seed, options=options)


@breaks("seed_lists_name_each_seed")
class NoneInAListIsASeed(ToyVectorEnv):
    def check_seeds(self, seed: Any) -> list[int | None]:
        seeds = super().check_seeds(seed)
        return seeds if seed is None else [0 if value is None else value for value in seeds]


@breaks("bad_seeds_are_refused")
class TakesLongLists(ToyVectorEnv):
    def check_seeds(self, seed: Any) -> list[int | None]:
        if isinstance(seed, list) and len(seed) > self.num_envs:
            return [None] * self.num_envs
        return super().check_seeds(seed)


@breaks("bad_seeds_change_nothing")
class SeedsBeforeItChecks(ToyVectorEnv):
    def check_seeds(self, seed: Any) -> list[int | None]:
        try:
            return super().check_seeds(seed)
        except ValueError:
            self.random[0] = np.random.default_rng(1)
            raise


@breaks("num_envs_makes_no_difference")
class DrawsByTheNumber(ToyVectorEnv):
    def check_seeds(self, seed: Any) -> list[int | None]:
        seeds = super().check_seeds(seed)
        return [None if value is None else value * 10 + self.num_envs for value in seeds]


@breaks("other_actions_make_no_difference")
class PushesItsNeighbours(ToyVectorEnv):
    def move(self, which, actions):
        super().move(which, actions)
        self.position[which] += np.float32(0.1) * actions.mean()


@breaks("equals_single_environments", single=True)
class HasAnotherReward(ToyVectorEnv):
    """Keeps every rule but the one that knows what the rewards should be."""

    def reward(self, alive):
        return 2 * super().reward(alive)
