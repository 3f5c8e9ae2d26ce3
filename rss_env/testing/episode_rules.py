"""Rules about episodes: how they begin and end in each autoreset mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rss_env.testing.comparison import as_numpy, difference
from rss_env.testing.refusals import changes, refusals
from rss_env.testing.subject import (
    FAR_SEED,
    SEED,
    AnyVectorEnv,
    Call,
    Inapplicable,
    Subject,
    difference_of_traces,
)

ENDS_LOOKED_AT = 8  # steps in which episodes end: enough to see every sub-environment's


def episodes_take_one_step(subject: Subject) -> Iterator[str]:
    """With `one_step`, every live step terminates its episode and truncates none."""
    if not subject.one_step:
        raise Inapplicable("one_step=True was not asked for")
    with subject.opened() as env:
        dead = np.zeros(env.num_envs, np.bool_)
        for moment in subject.trace(env):
            if not moment.numbers:
                continue
            terminated, truncated = moment.numbers["terminated"], moment.numbers["truncated"]
            if (terminated | dead).all() and not truncated.any():
                dead = terminated & (subject.mode is AutoresetMode.NEXT_STEP)
                continue
            yield (
                f"{moment.label}: terminated is {terminated.tolist()} and truncated "
                f"{truncated.tolist()}; a one-step episode ends by terminating"
            )
            return


def same_step_gives_final_observations(subject: Subject) -> Iterator[str]:
    """SAME_STEP: `infos["final_obs"]` holds the last observation of what ended, and its mask."""
    yield from _missing_finals(subject, "final_obs")


def same_step_gives_final_infos(subject: Subject) -> Iterator[str]:
    """SAME_STEP: `infos["final_info"]` holds the last info of what ended, and its mask."""
    yield from _missing_finals(subject, "final_info")


def final_observations_are_in_their_space(subject: Subject) -> Iterator[str]:
    """SAME_STEP: every final observation is in `single_observation_space`."""
    subject.need_mode(AutoresetMode.SAME_STEP)
    with subject.opened() as env:
        for ended, _ in islice(subject.episode_ends(env), ENDS_LOOKED_AT):
            for i in np.flatnonzero(ended.over):
                final = ended.infos[i].get("final_obs")
                if final is not None and not env.single_observation_space.contains(final):
                    yield (
                        f"{ended.label}: final_obs of sub-environment {i} is {_brief(final)}, not "
                        f"in {env.single_observation_space}"
                    )
                    return


def new_episodes_are_shown(subject: Subject) -> Iterator[str]:
    """The next episode's first observation follows an episode's end, not the last one again."""
    if subject.deterministic:
        raise Inapplicable("a deterministic environment may begin where it ended")
    with subject.opened() as env:
        compared = 0
        for ended, then in islice(subject.episode_ends(env), ENDS_LOOKED_AT):
            for i in np.flatnonzero(ended.over):
                if subject.mode is AutoresetMode.SAME_STEP:
                    pair = ended.infos[i].get("final_obs"), ended.observations[i]
                elif then is not None:
                    pair = ended.observations[i], then.observations[i]
                else:
                    continue
                compared += 1
                if difference(*pair) is not None:
                    return
        yield f"{compared} episodes ended, and each time the last observation was given again"


def dead_steps_are_empty(subject: Subject) -> Iterator[str]:
    """NEXT_STEP: the step after an end gives reward 0 and neither flag."""
    subject.need_mode(AutoresetMode.NEXT_STEP)
    with subject.opened() as env:
        for ended, then in islice(subject.episode_ends(env), ENDS_LOOKED_AT):
            if then is None:
                continue
            for i in np.flatnonzero(ended.over):
                values = {name: array[i].item() for name, array in then.numbers.items()}
                if any(values.values()):
                    yield f"{then.label}: sub-environment {i}, over before, gave {values}"
                    return


def dead_steps_ignore_actions(subject: Subject) -> Iterator[str]:
    """NEXT_STEP: what is given as the action of a step that only resets makes no difference."""
    subject.need_mode(AutoresetMode.NEXT_STEP)
    with subject.opened() as env, subject.opened() as other:
        over = np.zeros(env.num_envs, np.bool_)
        env.reset(seed=SEED)
        other.reset(seed=SEED)
        met = 0
        for step in range(subject.max_steps):
            actions, others = (subject.actions_of_each(env, k) for k in (step, step + FAR_SEED))
            mixed = [o if d else a for a, o, d in zip(actions, others, over, strict=True)]
            calls = [
                Call(f"step {step}", e.step(subject.batch(e, a)), np.ones(e.num_envs, np.bool_))
                for e, a in ((env, actions), (other, mixed))
            ]
            want, got = subject.record(env, calls[0]), subject.record(other, calls[1])
            found = difference_of_traces([got], [want])
            if found is not None:
                yield f"{found}, for another action in a sub-environment that was over"
                return
            met += int(over.any())
            over = want.over
            if met == ENDS_LOOKED_AT:
                return
        if not met:
            raise Inapplicable(f"no episode ended within {subject.max_steps} steps")


def over_episodes_refuse_steps(subject: Subject) -> Iterator[str]:
    """DISABLED: a step raises while an episode is over and not reset."""
    subject.need_mode(AutoresetMode.DISABLED)
    with subject.opened() as env:
        ended = _step_until_over(subject, env)
        attempts = {"a step": lambda e: e.step(subject.actions(e, 0))}
        for message in refusals(attempts, env):
            yield f"{message} while sub-environments {np.flatnonzero(ended).tolist()} were over"


def steps_before_the_first_reset_are_refused(subject: Subject) -> Iterator[str]:
    """A step before the first reset raises."""
    with subject.opened() as env:
        attempts = {"a step": lambda e: e.step(subject.actions(e, 0))}
        for message in refusals(attempts, env):
            yield f"{message} before the first reset"


def reset_masks_restart_only_their_own(subject: Subject) -> Iterator[str]:
    """DISABLED: `options["reset_mask"]` restarts what it selects and leaves the rest alone."""
    subject.need_mode(AutoresetMode.DISABLED)
    with subject.opened() as env, subject.opened() as fresh:
        [started] = subject.trace(env, steps=0)
        far = SEED + FAR_SEED
        [want] = subject.trace(fresh, steps=0, seed=far)
        first = np.arange(env.num_envs) < subject.group_size
        call = Call("reset", env.reset(seed=far, options={"reset_mask": first.copy()}), first)
        got = subject.record(env, call)
        pairs = (
            ("is selected and not as after a whole reset", first, want),
            ("is not selected and has changed", ~first, started),
        )
        for what, mask, expected in pairs:
            rows = np.flatnonzero(mask)
            observed, hoped = (
                {int(i): moment.observations[i] for i in rows} for moment in (got, expected)
            )
            found = difference(observed, hoped, "observations")
            if found is not None:
                yield f"{found}: it {what}"


def bad_reset_masks_are_refused(subject: Subject) -> Iterator[str]:
    """DISABLED: a mask of another shape or dtype, or one that selects nothing, raises."""
    subject.need_mode(AutoresetMode.DISABLED)
    with subject.opened() as env:
        env.reset(seed=SEED)
        yield from refusals(_bad_masks(subject), env)


def bad_reset_masks_change_nothing(subject: Subject) -> Iterator[str]:
    """DISABLED: after a mask was refused, all goes on as if it had not been given."""
    subject.need_mode(AutoresetMode.DISABLED)
    yield from changes(subject, _bad_masks(subject))


RULES = (
    episodes_take_one_step,
    same_step_gives_final_observations,
    same_step_gives_final_infos,
    final_observations_are_in_their_space,
    new_episodes_are_shown,
    dead_steps_are_empty,
    dead_steps_ignore_actions,
    over_episodes_refuse_steps,
    steps_before_the_first_reset_are_refused,
    reset_masks_restart_only_their_own,
    bad_reset_masks_are_refused,
    bad_reset_masks_change_nothing,
)

# --- details ---


def _brief(value: Any) -> str:
    array = np.asarray(value)
    return f"{array.dtype} {array.shape}" if array.shape else repr(value)


def _missing_finals(subject: Subject, key: str) -> Iterator[str]:
    """Check that `key` and its mask say exactly which episodes ended in each step."""
    subject.need_mode(AutoresetMode.SAME_STEP)
    with subject.opened() as env:
        ends = 0
        for label, result, _ in subject.results(env, steps=subject.max_steps):
            if label == "reset":
                continue
            over, infos = np.logical_or(*as_numpy(result[2:4])), as_numpy(result[4])
            ends += int(over.any())
            fault = _fault_of_finals(infos, key, over)
            if fault is not None:
                yield f"{label}: episodes ended where {over.tolist()}; {fault}"
                return
            if ends == ENDS_LOOKED_AT:
                return
        if not ends:
            raise Inapplicable(f"no episode ended within {subject.max_steps} steps")


def _fault_of_finals(infos: dict[str, Any], key: str, over: Any) -> str | None:
    """Say what is wrong with `key` and its mask in a step; None if nothing is."""
    if not over.any() and f"_{key}" not in infos:
        return None  # nothing ended, and nothing is said
    if key not in infos:
        return f"infos lacks {key!r}"
    if f"_{key}" not in infos:
        return f"infos has {key!r} and lacks its mask '_{key}'"
    mask = np.asarray(infos[f"_{key}"])
    return None if np.array_equal(mask, over) else f"the mask '_{key}' is {mask.tolist()}"


def _step_until_over(subject: Subject, env: AnyVectorEnv) -> Any:
    """Step without resetting until an episode is over; where that is so, (N,)."""
    env.reset(seed=SEED)
    for step in range(subject.max_steps):
        result = env.step(subject.actions(env, step))
        over = np.logical_or(*as_numpy(result[2:4]))
        if over.any():
            return over
    raise Inapplicable(f"no episode ended within {subject.max_steps} steps")


def _bad_masks(subject: Subject) -> dict[str, Callable[[AnyVectorEnv], Any]]:
    number = subject.num_envs
    masks = {
        "a reset_mask that is too long": np.ones(number + 1, np.bool_),
        "a reset_mask of integers": np.ones(number, np.int64),
        "a reset_mask that selects nothing": np.zeros(number, np.bool_),
        "a reset_mask that is no array": "all",
    }
    return {
        name: lambda env, mask=mask: env.reset(options={"reset_mask": mask})
        for name, mask in masks.items()
    }
