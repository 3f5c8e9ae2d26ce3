"""Rules about randomness: what a seed decides, and what must not depend on what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gymnasium.vector import SyncVectorEnv

from rss_env.testing.comparison import difference
from rss_env.testing.refusals import changes, refusals
from rss_env.testing.subject import (
    FAR_SEED,
    SEED,
    AnyVectorEnv,
    Inapplicable,
    Moment,
    Subject,
    difference_of_traces,
)

SEVERAL = 6  # seeds, episodes or environments that must not all be alike


def same_seed_gives_the_same_run(subject: Subject) -> Iterator[str]:
    """One seed and the same actions give the same run, in a new environment and a used one."""
    with subject.opened() as env, subject.opened() as other:
        want = subject.trace(env)
        for name, again in (("another environment", other), ("the same environment", env)):
            found = difference_of_traces(subject.trace(again), want)
            if found is not None:
                yield f"{found}, with one seed in {name}"


def seeds_make_a_difference(subject: Subject) -> Iterator[str]:
    """Different seeds give different runs."""
    _need_chance(subject)
    with subject.opened() as env:
        runs = [subject.trace(env, seed=SEED + k * FAR_SEED) for k in range(SEVERAL)]
        if all(difference_of_traces(run, runs[0]) is None for run in runs[1:]):
            yield f"{SEVERAL} seeds, {SEED} to {SEED + (SEVERAL - 1) * FAR_SEED}, gave one run"


def unseeded_runs_differ(subject: Subject) -> Iterator[str]:
    """New environments that are given no seed run differently."""
    _need_chance(subject)
    runs: list[list[Moment]] = []
    for _ in range(SEVERAL):
        with subject.opened() as env:
            runs.append(subject.trace(env, seed=None))
    if all(difference_of_traces(run, runs[0]) is None for run in runs[1:]):
        yield f"{SEVERAL} new environments without a seed gave one run"


def sub_environments_differ(subject: Subject) -> Iterator[str]:
    """Sub-environments that take the same actions run differently (groups do, with groups)."""
    _need_chance(subject)
    with subject.opened() as env:
        run = subject.trace(env, act=lambda step: _alike(subject, env, step))
        for i in range(subject.group_size, env.num_envs, subject.group_size):
            if all(difference(moment.of(0), moment.of(i)) is None for moment in run):
                yield f"sub-environments 0 and {i} gave the same in {len(run)} calls"


def episodes_differ(subject: Subject) -> Iterator[str]:
    """Episodes begun by `reset()` without a seed are not all the same."""
    _need_chance(subject)
    with subject.opened() as env:
        env.reset(seed=SEED)
        runs = [subject.trace(env, seed=None) for _ in range(SEVERAL)]
        for i in range(env.num_envs):
            if all(difference_of_traces(run, runs[0], [i]) is None for run in runs[1:]):
                yield f"sub-environment {i} gave the same after each of {SEVERAL} resets"


def reset_continues_the_stream(subject: Subject) -> Iterator[str]:
    """`reset()` without a seed goes on from the last seed: all later episodes follow from it."""
    with subject.opened() as env:
        runs: list[list[Moment]] = []
        for _ in range(2):
            env.reset(seed=SEED)
            runs.append(subject.trace(env, seed=None) + subject.trace(env, seed=None))
        found = difference_of_traces(runs[1], runs[0])
        if found is not None:
            yield f"{found}, in episodes after reset(seed={SEED}) followed by reset()"


def seed_lists_name_each_seed(subject: Subject) -> Iterator[str]:
    """`reset(seed=[s, s + 1, ...])` is `reset(seed=s)`, and None in a list keeps a stream."""
    size = subject.group_size
    with subject.opened() as env, subject.opened() as other:
        want = subject.trace(env)
        listed = [SEED + i // size for i in range(env.num_envs)]
        found = difference_of_traces(subject.trace(other, seed=listed), want)
        if found is not None:
            yield f"{found}, with seed={listed} for seed={SEED}"
        kept = [SEED + FAR_SEED] * size + [None] * (env.num_envs - size)
        continued = subject.trace(env, seed=None)
        rest = range(size, env.num_envs)
        found = difference_of_traces(subject.trace(other, seed=kept), continued, rest)
        if found is not None:
            yield f"{found}, with None in a list of seeds where reset() continues"


def bad_seeds_are_refused(subject: Subject) -> Iterator[str]:
    """A seed that is negative or no integer, and a list of another length, raise."""
    with subject.opened() as env:
        env.reset(seed=SEED)
        yield from refusals(_bad_seeds(subject), env)


def bad_seeds_change_nothing(subject: Subject) -> Iterator[str]:
    """After a seed was refused, all goes on as if it had not been given."""
    yield from changes(subject, _bad_seeds(subject))


def num_envs_makes_no_difference(subject: Subject) -> Iterator[str]:
    """The first sub-environments run alike, however many others there are."""
    with subject.opened() as env:
        want = subject.trace(env)
    for number in (subject.group_size, 2 * subject.num_envs):
        with subject.opened(number) as env:
            common = range(min(number, subject.num_envs))
            found = difference_of_traces(subject.trace(env), want, common)
            if found is not None:
                yield f"{found}, with num_envs={number} for {subject.num_envs}"


def other_actions_make_no_difference(subject: Subject) -> Iterator[str]:
    """A sub-environment (a group, with groups) runs alike whatever the others do."""
    size, number = subject.group_size, subject.num_envs
    for own in (range(size), range(number - size, number)):
        with subject.opened() as env, subject.opened() as other:

            def mixed(step: int, env: AnyVectorEnv = other, own: range = own) -> Any:
                kept, others = (subject.actions_of_each(env, k) for k in (step, step + FAR_SEED))
                return subject.batch(env, [(others, kept)[i in own][i] for i in range(number)])

            want, got = subject.trace(env), subject.trace(other, act=mixed)
            found = difference_of_traces(got, want, own)
            if found is not None:
                yield f"{found}, when the other sub-environments acted otherwise"


def equals_single_environments(subject: Subject) -> Iterator[str]:
    """Given `make_single`, all is as in a `SyncVectorEnv` of single environments."""
    if subject.make_single is None or subject.mode is None:
        raise Inapplicable("make_single was not given")
    makers = [subject.make_single] * subject.num_envs
    sync: Any = SyncVectorEnv(makers, autoreset_mode=subject.mode)
    try:
        with subject.opened() as env:
            for name in (
                "single_observation_space", "observation_space",
                "single_action_space", "action_space",
            ):  # fmt: skip
                ours, theirs = getattr(env, name), getattr(sync, name)
                if ours != theirs:
                    yield f"{name} is {ours}, that of single environments {theirs}"
            seed = [SEED + i // subject.group_size for i in range(env.num_envs)]
            seeded: Any = seed if subject.group_size > 1 else SEED
            got = subject.trace(env, seed=seeded)
        want = subject.trace(sync, seed=seeded)
    finally:
        sync.close()
    if subject.device is not None:  # tensors of rewards need not be of NumPy's precision
        for moment, other in zip(got, want, strict=False):
            if moment.numbers:
                dtype = moment.numbers["rewards"].dtype
                other.numbers["rewards"] = other.numbers["rewards"].astype(dtype)
    found = difference_of_traces(got, want)
    if found is not None:
        yield f"{found}, as single environments give"


RULES = (
    same_seed_gives_the_same_run,
    seeds_make_a_difference,
    unseeded_runs_differ,
    sub_environments_differ,
    episodes_differ,
    reset_continues_the_stream,
    seed_lists_name_each_seed,
    bad_seeds_are_refused,
    bad_seeds_change_nothing,
    num_envs_makes_no_difference,
    other_actions_make_no_difference,
    equals_single_environments,
)

# --- details ---


def _need_chance(subject: Subject) -> None:
    if subject.deterministic:
        raise Inapplicable("deterministic=True was given")


def _alike(subject: Subject, env: AnyVectorEnv, step: int) -> Any:
    return subject.batch(env, subject.actions_of_each(env, step)[:1] * env.num_envs)


def _bad_seeds(subject: Subject) -> dict[str, Callable[[AnyVectorEnv], Any]]:
    number, size = subject.num_envs, subject.group_size
    last_is_bad = [SEED + FAR_SEED] * (number - size) + [-1] * size
    seeds: tuple[Any, ...] = (-1, 1.5, "seed", [SEED] * (number + 1), last_is_bad)
    return {f"seed={seed!r}": lambda env, seed=seed: env.reset(seed=seed) for seed in seeds}
