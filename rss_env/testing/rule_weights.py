"""What a finding of a rule weighs, and which rules say nothing once another has found something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Severity = Literal["error", "advice"]

# What Gymnasium does not ask for, and training code is better off with.
ADVICE = frozenset(
    {
        "attribute_names_the_autoreset_mode",
        "arrays_are_of_one_kind",
        "steps_before_the_first_reset_are_refused",
        "bad_reset_masks_are_refused",
        "bad_reset_masks_change_nothing",
        "bad_seeds_are_refused",
        "bad_seeds_change_nothing",
        "num_envs_makes_no_difference",
        "results_may_be_written_to",
        "arguments_are_left_alone",
        "bad_actions_are_refused",
        "bad_actions_change_nothing",
        "closed_environments_refuse",
        "pickled_copies_run_alike",
        "pickled_copies_continue",
        "states_continue_exactly",
        "vector_wrappers_work",
    }
)

_ONE_SEED_ONE_RUN = "same_seed_gives_the_same_run"
_COMPARE_RUNS = (
    "dead_steps_ignore_actions",
    "reset_masks_restart_only_their_own",
    "bad_reset_masks_change_nothing",
    "reset_continues_the_stream",
    "seed_lists_name_each_seed",
    "bad_seeds_change_nothing",
    "num_envs_makes_no_difference",
    "other_actions_make_no_difference",
    "equals_single_environments",
    "results_may_be_written_to",
    "bad_actions_change_nothing",
    "pickled_copies_run_alike",
    "pickled_copies_continue",
    "states_continue_exactly",
)
# Beside that: what an own fault of the first would also look like in the second.
_FURTHER = {
    "metadata_names_the_autoreset_mode": (
        "attribute_names_the_autoreset_mode",
        "vector_wrappers_work",
    ),
    "spaces_are_batched": ("observations_are_in_their_space",),
    "infos_have_masks": (
        "same_step_gives_final_observations",
        "same_step_gives_final_infos",
        "num_envs_makes_no_difference",
        "other_actions_make_no_difference",
        "vector_wrappers_work",
    ),
    "same_step_gives_final_observations": (
        "final_observations_are_in_their_space",
        "num_envs_makes_no_difference",
        "other_actions_make_no_difference",
    ),
    "reset_masks_restart_only_their_own": (
        "seed_lists_name_each_seed",
        "num_envs_makes_no_difference",
        "other_actions_make_no_difference",
    ),
    "sub_environments_differ": ("seed_lists_name_each_seed",),
    "reset_continues_the_stream": ("seed_lists_name_each_seed",),
    "other_actions_make_no_difference": ("num_envs_makes_no_difference",),
    "bad_reset_masks_are_refused": ("bad_reset_masks_change_nothing",),
    "bad_seeds_are_refused": ("bad_seeds_change_nothing",),
    "bad_actions_are_refused": ("bad_actions_change_nothing",),
    "pickled_copies_run_alike": ("pickled_copies_continue",),
}


def severity_of(rule: str) -> Severity:
    """How much a finding of a rule weighs.

    `error`: the environment breaks what Gymnasium's interface promises, and what is trained on it
    is not what it seems. `advice`: training code relies on it often, though nothing demands it.
    """
    return "advice" if rule in ADVICE else "error"


def foundations(rule: str) -> Iterator[str]:
    """The rules that must find nothing for this one to say anything of its own."""
    if rule in _COMPARE_RUNS:
        yield _ONE_SEED_ONE_RUN
    yield from (first for first, others in _FURTHER.items() if rule in others)
