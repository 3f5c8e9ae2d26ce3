"""Rules about what surrounds a run: shared memory, bad input, closing, copying, wrappers."""

from __future__ import annotations

import contextlib
import importlib.util
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from rss_env.testing.comparison import as_numpy, difference, leaves
from rss_env.testing.refusals import changes, refusals
from rss_env.testing.subject import (
    SEED,
    AnyVectorEnv,
    Inapplicable,
    Subject,
    difference_of_traces,
)

WRAPPERS = ("RecordEpisodeStatistics", "DictInfoToList", "NormalizeReward", "NumpyToTorch")


def results_stay_as_they_were(subject: Subject) -> Iterator[str]:
    """Results of `reset` and `step` are the same several steps later."""
    with subject.opened() as env:
        kept: list[tuple[str, Any, Any]] = []
        for label, result, _ in subject.results(env):
            kept.append((label, result, as_numpy(result, copied=True)))
        for label, result, want in kept:
            found = difference(as_numpy(result), want, f"what {label} gave: ")
            if found is not None:
                yield f"{found}, {len(kept)} calls later"
                return


def results_may_be_written_to(subject: Subject) -> Iterator[str]:
    """Overwriting what was returned changes nothing of what comes."""
    with subject.opened() as env, subject.opened() as other:
        want = subject.trace(env)
        got = []
        for call in subject.results(other):
            got.append(subject.record(other, call))
            # flags stay: the driver still reads which episodes ended
            for _, leaf in leaves([*call.result[:2], *call.result[4:]]):
                _overwrite(leaf)
        found = difference_of_traces(got, want)
        if found is not None:
            yield f"{found}, after earlier results were overwritten"


def arguments_are_left_alone(subject: Subject) -> Iterator[str]:
    """`reset` and `step` do not write to the actions, seeds and options they are given."""
    with subject.opened() as env:
        seed: Any = SEED
        options: dict[str, Any] = {}
        if subject.mode is AutoresetMode.DISABLED:
            options["reset_mask"] = np.ones(env.num_envs, np.bool_)
        env.reset(seed=SEED)
        actions = subject.actions(env, 0)
        inputs = [("actions", actions), ("seed", seed), ("options", options)]
        before = as_numpy([value for _, value in inputs], copied=True)
        env.step(actions)
        env.reset(seed=seed, options=options)
        for (name, value), want in zip(inputs, before, strict=True):
            found = difference(as_numpy(value), want, name)
            if found is not None:
                yield f"{found}, as it was given"


def bad_actions_are_refused(subject: Subject) -> Iterator[str]:
    """Actions of another number, type, dtype, range or device raise."""
    with subject.opened() as env:
        env.reset(seed=SEED)
        yield from refusals(_bad_actions(subject, env), env)


def bad_actions_change_nothing(subject: Subject) -> Iterator[str]:
    """After actions were refused, all goes on as if they had not been given."""
    with subject.opened() as env:
        env.reset(seed=SEED)
        attempts = _bad_actions(subject, env)
    yield from changes(subject, attempts)


def closing_twice_is_harmless(subject: Subject) -> Iterator[str]:
    """`close` may be called before the first reset, and again."""
    for resets in (False, True):
        with subject.opened() as env:
            if resets:
                env.reset()
            for count in ("first", "second"):
                try:
                    env.close()
                except Exception as error:
                    when = "after a reset" if resets else "before any reset"
                    yield f"the {count} close {when} raised {type(error).__name__}: {error}"


def closed_environments_refuse(subject: Subject) -> Iterator[str]:
    """After `close`, `reset` and `step` raise, and `closed` is True."""
    with subject.opened() as env:
        env.reset(seed=SEED)
        actions = subject.actions(env, 0)
        env.close()
        if env.closed is not True:
            yield f"closed is {env.closed!r} after close"
        attempts = {"a step": lambda e: e.step(actions), "a reset": lambda e: e.reset()}
        for message in refusals(attempts, env):
            yield f"{message} after close"


def pickled_copies_run_alike(subject: Subject) -> Iterator[str]:
    """A copy through (cloud)pickle, reset with a seed, runs as the original does."""
    with subject.opened() as env:
        want = subject.trace(env)
        with contextlib.closing(_pickled(env)) as twin:
            found = difference_of_traces(subject.trace(twin), want)
        if found is not None:
            yield f"{found}, in a pickled copy"


def pickled_copies_continue(subject: Subject) -> Iterator[str]:
    """With `get_state`, a copy through (cloud)pickle goes on where the original was."""
    with subject.opened() as env:
        _state_methods(env)
        subject.trace(env, steps=1)
        with contextlib.closing(_pickled(env)) as twin:
            want = subject.trace(env, resets=False)
            found = difference_of_traces(subject.trace(twin, resets=False), want)
        if found is not None:
            yield f"{found}, in a copy pickled after one step"


def states_continue_exactly(subject: Subject) -> Iterator[str]:
    """`set_state` with a state of `get_state` goes on from there, in a new environment too."""
    with subject.opened() as env, subject.opened() as fresh:
        get_state, set_state = _state_methods(env)
        subject.trace(env, steps=1)
        state = get_state()
        want = subject.trace(env, resets=False)
        fresh.reset()
        # the state itself, not a copy: it must not have moved on with the environment
        for name, other, set_other in (
            ("another environment", fresh, _state_methods(fresh)[1]),
            ("the same environment", env, set_state),
        ):
            set_other(state)
            found = difference_of_traces(subject.trace(other, resets=False), want)
            if found is not None:
                yield f"{found}, after set_state in {name}"


def vector_wrappers_work(subject: Subject) -> Iterator[str]:
    """Gymnasium's RecordEpisodeStatistics, DictInfoToList, NormalizeReward, NumpyToTorch run."""
    if subject.device is not None:
        raise Inapplicable("these wrappers are for NumPy environments")
    for name in WRAPPERS:
        to_torch = name == "NumpyToTorch"
        if to_torch and importlib.util.find_spec("array_api_compat") is None:
            continue
        with subject.opened() as env:
            try:
                wrapped = getattr(gym.wrappers.vector, name)(env)
                speaker = replace(subject, device=torch.device("cpu")) if to_torch else subject
                for label, result, _ in subject.results(
                    wrapped, act=lambda step, env=env, speaker=speaker: speaker.actions(env, step)
                ):
                    if to_torch and not isinstance(result[1], (torch.Tensor, dict)):
                        yield f"{name}: {label} gave {type(result[1]).__name__}, not a tensor"
            except Exception as error:
                yield f"{name} raised {type(error).__name__}: {str(error)[:200]}"


RULES = (
    results_stay_as_they_were,
    results_may_be_written_to,
    arguments_are_left_alone,
    bad_actions_are_refused,
    bad_actions_change_nothing,
    closing_twice_is_harmless,
    closed_environments_refuse,
    pickled_copies_run_alike,
    pickled_copies_continue,
    states_continue_exactly,
    vector_wrappers_work,
)

# --- details ---


def _overwrite(leaf: Any) -> None:
    if isinstance(leaf, torch.Tensor):
        leaf.logical_not_() if leaf.dtype == torch.bool else leaf.add_(1)
    elif isinstance(leaf, np.ndarray) and leaf.flags.writeable and leaf.dtype.kind in "biuf":
        np.copyto(leaf, ~leaf if leaf.dtype.kind == "b" else leaf + leaf.dtype.type(1))


def _pickled(env: AnyVectorEnv) -> Any:
    return pickle.loads(cloudpickle.dumps(env))


def _state_methods(env: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    base = env.unwrapped
    if not hasattr(base, "get_state") or not hasattr(base, "set_state"):
        raise Inapplicable("the environment has no get_state and set_state")
    return base.get_state, base.set_state


def _bad_actions(subject: Subject, env: AnyVectorEnv) -> dict[str, Callable[[AnyVectorEnv], Any]]:
    """Steps with actions that the action space does not hold, by what is wrong with them."""
    each = subject.actions_of_each(env, 0)
    good = subject.batch(env, each)
    bad = {"one action too few": subject.batch(env, each[:-1]), "None for actions": None}
    for name, last in _bad_single_actions(env.single_action_space, each[-1]):
        rows = [*each[:-1], last]
        bad[name] = subject.deliver(_stack(rows))
    if subject.device is not None and subject.device.type != "meta":
        elsewhere = replace(subject, device=torch.device("meta"))
        bad["actions on another device"] = elsewhere.deliver(good)
    return {name: lambda e, actions=actions: e.step(actions) for name, actions in bad.items()}


def _bad_single_actions(space: gym.Space[Any], good: Any) -> Iterator[tuple[str, Any]]:
    """Bad actions of each sort, by what is wrong; one at a time in each part of a space."""
    if isinstance(space, spaces.Dict):
        for key, part in space.items():
            for name, bad in _bad_single_actions(part, good[key]):
                yield f"{name} in {key!r}", {**good, key: bad}
    elif isinstance(space, spaces.Tuple):
        for i, part in enumerate(space):
            for name, bad in _bad_single_actions(part, good[i]):
                yield f"{name} in part {i}", (*good[:i], bad, *good[i + 1 :])
    elif isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        action = np.asarray(good)
        above = space.start + (space.n if isinstance(space, spaces.Discrete) else space.nvec)
        yield "an action above its range", np.asarray(above, action.dtype)
        yield "an action below its range", np.asarray(space.start - 1, action.dtype) + 0 * action
        yield "actions that are not whole numbers", action + 0.5
        yield "actions that are not numbers", np.full(action.shape, np.nan)
    elif isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind == "f":
        yield "actions that are not numbers", np.full_like(good, np.nan)


def _stack(rows: list[Any]) -> Any:
    if isinstance(rows[0], dict):
        return {key: _stack([row[key] for row in rows]) for key in rows[0]}
    if isinstance(rows[0], tuple):
        return tuple(_stack([row[i] for row in rows]) for i in range(len(rows[0])))
    return np.stack([np.asarray(row) for row in rows])
