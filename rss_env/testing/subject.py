"""The environment under test: how rules open it, act in it, and record what it gives.

Rules never call `reset` and `step` in their own way: `Subject.results` drives an environment in
any autoreset mode, and `Subject.trace` records the same as one list per sub-environment, so that
NumPy and torch, dense and object arrays compare alike.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from rss_env.testing.comparison import as_numpy, difference, info_of_each

SEED = 7  # every rule starts here; other seeds lie far off, as neighbours may share streams
FAR_SEED = 10_000

AnyVectorEnv = VectorEnv[Any, Any, Any]


class Inapplicable(Exception):  # noqa: N818  (raised to skip, not an error)
    """Raised by a rule that says nothing of this environment; the message says why."""


class Call(NamedTuple):
    """Results of one call, untouched, and which sub-environments (N,) it was about."""

    label: str
    result: Any
    touched: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Moment:
    """Results of one call, copied, with one entry per sub-environment.

    Attributes:
        label: Which call: `reset`, `step 0`, ...
        touched: Which sub-environments it was about, (N,): those in a mask, otherwise all.
        observations: One observation each, of NumPy arrays.
        numbers: The arrays (N,) a step gives beside: rewards, terminated, truncated.
        infos: One info each, masks applied.
    """

    label: str
    touched: npt.NDArray[np.bool_]
    observations: list[Any]
    numbers: dict[str, npt.NDArray[Any]]
    infos: list[dict[str, Any]]

    @property
    def over(self) -> npt.NDArray[np.bool_]:
        """Sub-environments whose episodes ended in this step, (N,)."""
        return np.logical_or(self.numbers["terminated"], self.numbers["truncated"])

    def of(self, i: int) -> dict[str, Any]:
        """Results of sub-environment `i`."""
        return {
            "observation": self.observations[i],
            **{name: array[i] for name, array in self.numbers.items()},
            "info": self.infos[i],
        }


@dataclass(frozen=True)
class Subject:
    """Environment to be checked, and how; see `check_vector_env` for the options.

    Attributes:
        mode: The autoreset mode that the environment declares; None if it declares none.
        device: Where its tensors live; None if it speaks NumPy.
    """

    make: Callable[[int], AnyVectorEnv]
    num_envs: int
    group_size: int = 1
    make_single: Callable[[], gym.Env[Any, Any]] | None = None
    sample_action: Callable[[gym.Space[Any]], Any] | None = None
    one_step: bool = False
    deterministic: bool = False
    ignore_infos: frozenset[str] = frozenset()
    steps: int = 6
    max_steps: int = 100
    mode: AutoresetMode | None = None
    device: torch.device | None = None
    _drawn: dict[tuple[int, int], list[Any]] = field(default_factory=dict)

    @contextlib.contextmanager
    def opened(self, num_envs: int | None = None) -> Iterator[AnyVectorEnv]:
        """Open a new environment, and close it at the end."""
        env = self.make(self.num_envs if num_envs is None else num_envs)
        try:
            yield env
        finally:
            with contextlib.suppress(Exception):  # `closing_twice_is_harmless` reports it
                env.close()

    def need_mode(self, *modes: AutoresetMode) -> None:
        """Skip a rule that is about other autoreset modes than this environment's.

        Raises:
            Inapplicable: If the environment declares none of `modes`.
        """
        if self.mode not in modes:
            names = " and ".join(mode.value for mode in modes)
            raise Inapplicable(f"it is about {names}")

    # --- actions ---

    def actions_of_each(self, env: AnyVectorEnv, key: int) -> list[Any]:
        """One legal action per sub-environment; the first ones do not depend on `num_envs`."""
        which = (env.num_envs, key)
        if which not in self._drawn:
            space = copy.deepcopy(env.single_action_space)
            space.seed(SEED + key)
            draw = self.sample_action or type(space).sample
            self._drawn[which] = [draw(space) for _ in range(env.num_envs)]
        return list(self._drawn[which])

    def batch(self, env: AnyVectorEnv, actions: Sequence[Any]) -> Any:
        """Single actions as the batch that `step` takes, in arrays of the environment's kind."""
        space = env.single_action_space
        empty = create_empty_array(space, n=len(actions), fn=np.zeros)
        return self.deliver(concatenate(space, list(actions), empty))

    def actions(self, env: AnyVectorEnv, key: int) -> Any:
        """Legal actions for every sub-environment, a function of `key`."""
        return self.batch(env, self.actions_of_each(env, key))

    def deliver(self, actions: Any) -> Any:
        """NumPy actions as tensors, where the environment speaks torch."""
        if self.device is None:
            return actions
        if isinstance(actions, dict):
            return {key: self.deliver(value) for key, value in actions.items()}
        if isinstance(actions, tuple):
            return tuple(self.deliver(value) for value in actions)
        return torch.as_tensor(actions, device=self.device)

    # --- runs ---

    def results(
        self,
        env: AnyVectorEnv,
        *,
        seed: Any = SEED,
        steps: int | None = None,
        act: Callable[[int], Any] | None = None,
        resets: bool = True,
    ) -> Iterator[Call]:
        """Run an environment; give what each call returned.

        Args:
            env: What to run.
            seed: Given to the first reset.
            steps: How many; None for the subject's own number.
            act: The actions of a step; None for `actions`.
            resets: Whether to begin with a reset.
        """
        every = np.ones(env.num_envs, np.bool_)
        if resets:
            yield Call("reset", env.reset(seed=seed), every)
        for step in range(self.steps if steps is None else steps):
            actions = self.actions(env, step) if act is None else act(step)
            result = env.step(actions)
            yield Call(f"step {step}", result, every)
            if self.mode is AutoresetMode.DISABLED:
                over = np.logical_or(as_numpy(result[2]), as_numpy(result[3]))
                for mask in self._masks(over):
                    options = {"reset_mask": mask.copy()}
                    yield Call(f"reset after step {step}", env.reset(options=options), mask)

    def _masks(self, over: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.bool_]]:
        """Masks that together restart what is over: every other group, then the rest."""
        groups = np.any(over.reshape(-1, self.group_size), axis=1, keepdims=False)
        odd = np.arange(len(groups)) % 2 == 1
        for part in (groups & odd, groups & ~odd):
            if part.any():
                yield part.repeat(self.group_size)

    def record(self, env: AnyVectorEnv, call: Call) -> Moment:
        """Copy what a call gave."""
        observations, *numbers, infos = as_numpy(call.result, copied=True)
        return Moment(
            call.label,
            call.touched,
            list(iterate(env.observation_space, observations)),
            dict(zip(("rewards", "terminated", "truncated"), numbers, strict=False)),
            info_of_each(infos, env.num_envs, self.ignore_infos),
        )

    def trace(self, env: AnyVectorEnv, **options: Any) -> list[Moment]:
        """Run an environment (see `results`) and record it."""
        return [self.record(env, call) for call in self.results(env, **options)]

    def episode_ends(self, env: AnyVectorEnv) -> Iterator[tuple[Moment, Moment | None]]:
        """Steps in which episodes end, each with what came next (None at the very end).

        Raises:
            Inapplicable: If no episode ends within `max_steps`.
        """
        before: Moment | None = None
        seen = 0
        for call in self.results(env, steps=self.max_steps):
            moment = self.record(env, call)
            if before is not None and before.numbers and before.over.any():
                seen += 1
                yield before, moment
            before = moment
        if before is not None and before.numbers and before.over.any():
            seen += 1
            yield before, None
        if not seen:
            raise Inapplicable(f"no episode ended within {self.max_steps} steps")


def difference_of_traces(
    got: Sequence[Moment], want: Sequence[Moment], only: Sequence[int] | None = None
) -> str | None:
    """Say where two traces differ first, in all or `only` some sub-environments; None if nowhere.

    Calls that were about others alone are left out.
    """
    which = list(range(len(want[0].observations)) if only is None else only)
    got, want = ([m for m in trace if m.touched[which].any()] for trace in (got, want))
    if len(got) != len(want):
        return f"{len(got)} calls were needed, not {len(want)}"
    for a, b in zip(got, want, strict=True):
        for i in which:
            own, other = a.of(i), b.of(i)
            for name in own:
                path = f"{a.label}, sub-environment {i}: {name}"
                found = difference(own[name], other[name], path)
                if found is not None:
                    return found
    return None
