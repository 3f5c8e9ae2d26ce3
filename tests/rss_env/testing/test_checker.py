"""The contract checker: it finds every planted fault, and nothing in environments without any."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from planted_faults import FAULTS, Fault
from rss_env import environment_ids
from rss_env.errors import InputError
from rss_env.registration import LEVEL_NAMES, SEQUENCE_NAMES, parse_environment_id
from rss_env.testing import (
    RULES,
    ContractError,
    Finding,
    check_vector_env,
    examine_vector_env,
)
from rss_env.testing.comparison import as_numpy
from rss_env.testing.rule_weights import ADVICE
from small_environments import small_options
from toy_vector_env import ToyEnv, ToyVectorEnv

pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = (Path(__file__).parents[3] / "docs" / "vector-env-checker.md").read_text(encoding="utf-8")
SMALL = {"image_size": (16, 24), "scales": (8, 4, 1)}
MODES = list(AutoresetMode)
# how many rules are about each mode alone
ABOUT_MODES = {
    AutoresetMode.SAME_STEP: 3,
    AutoresetMode.NEXT_STEP: 2,
    AutoresetMode.DISABLED: 4,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of wrappers, given infinite rewards
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.broken.__name__)
def test_a_planted_fault_is_found_by_its_rule_alone(fault: Fault):
    report = examine_vector_env(
        lambda n: fault.broken(
            n, fault.mode, one_step=fault.one_step, torch_arrays=fault.torch_arrays
        ),
        one_step=fault.one_step,
        make_single=ToyEnv if fault.knows_single else None,
    )
    assert {finding.rule for finding in report.findings} == fault.rules, str(report)


def test_every_rule_has_a_fault_that_only_it_finds():
    for name in RULES:
        assert any(fault.rules == {name} for fault in FAULTS), name


@pytest.mark.parametrize("one_step", [False, True])
@pytest.mark.parametrize("torch_arrays", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_found_where_nothing_is_wrong(mode, torch_arrays, one_step):
    report = check_vector_env(
        lambda n: ToyVectorEnv(n, mode, torch_arrays=torch_arrays, one_step=one_step),
        make_single=lambda: ToyEnv(one_step),
        one_step=one_step,
    )
    assert report.findings == ()
    about_others = sum(ABOUT_MODES.values()) - ABOUT_MODES[mode]
    assert len(report.skipped) == about_others + torch_arrays + (not one_step), str(report)
    assert set(report.passed) | set(report.skipped) == set(RULES)


# format, arrays, group size: any three of these hold every value
FORMS = [("flat", "numpy", 1), ("maps", "torch", 2), ("flat", "torch", 2), ("maps", "numpy", 1)]
COMBINATIONS = [
    (environment_id, mode, *form)
    for i, environment_id in enumerate(environment_ids(LEVEL_NAMES))
    for j, mode in enumerate(MODES)
    # every combination for one id; for the others, every value of each
    for form in (FORMS if "Shapes-Image" in environment_id else [FORMS[(i + j) % 4]])
]


@pytest.mark.parametrize(
    ("environment_id", "mode", "action_format", "array", "group_size"),
    COMBINATIONS,
    ids=lambda value: value.value if isinstance(value, AutoresetMode) else None,
)
def test_registered_environments_keep_the_contract(
    environment_id, mode, action_format, array, group_size, data_options
):
    report = check_registered(
        environment_id, data_options, mode=mode, action_format=action_format, array=array,
        group_size=group_size,
    )  # fmt: skip
    about_others = sum(ABOUT_MODES.values()) - ABOUT_MODES[mode]
    assert len(report.skipped) == about_others + (array == "torch"), str(report)


class OnTheHost(gym.Wrapper):
    """A single environment of a device, for a `SyncVectorEnv`, which takes arrays alone."""

    def reset(self, **options: Any) -> Any:
        return as_numpy(super().reset(**options))

    def step(self, action: Any) -> Any:
        return as_numpy(super().step(action))


def check_on_device(environment_id: str, data_options: Any, device: str) -> Any:
    """The contract of a device, singles of the same device included.

    What another device makes of a zoomed image is the same to rounding alone.
    """
    return check_registered(
        environment_id, data_options, mode=AutoresetMode.SAME_STEP, array="torch", device=device,
        single={"array": "torch", "device": device},
        # what is out of range fails on a GPU, later, and takes the device with it
        skip=["bad_actions_are_refused", "bad_actions_change_nothing"],
    )  # fmt: skip


def test_the_contract_of_a_device_holds_on_the_cpu(data_options):
    report = check_on_device("RSS/Shapes-ImageReward-v0", data_options, "cpu")
    assert "equals_single_environments" in report.passed


@pytest.mark.cuda
@pytest.mark.parametrize("environment_id", environment_ids(LEVEL_NAMES))
def test_registered_environments_keep_the_contract_on_cuda(environment_id, data_options):
    check_on_device(environment_id, data_options, "cuda")


# within a group each map has noise of its own, which single environments cannot have
ALONE = {"feedback": "noisy:0.1", "zoom": (0.8, 1.5), "colour_jitter": 0.3}


def check_registered(
    environment_id: str, data_options: Any, *, mode: Any, group_size: int = 1, skip: Any = (),
    single: Any = None, **options: Any,
) -> Any:  # fmt: skip
    common = {
        **SMALL,
        **data_options[parse_environment_id(environment_id)[0]],
        "horizontal_flip": True,
        "render_mode": "rgb_array",
        "action_format": options.pop("action_format", "flat"),
        **(ALONE if group_size == 1 else {"feedback": "rating"}),
        **({"class_scores": True} if "Image" in environment_id and group_size > 1 else {}),
    }

    def make_single() -> gym.Env:
        if single is None:
            return gym.make(environment_id, **common).unwrapped
        return OnTheHost(gym.make(environment_id, **common, **single).unwrapped)

    return check_vector_env(
        lambda n: gym.make_vec(
            environment_id, num_envs=n, autoreset_mode=mode, group_size=group_size, **common,
            **options,
        ),
        make_single=make_single,
        group_size=group_size,
        one_step=True,
        steps=3,
        skip=skip,
    )  # fmt: skip


# arrays, group size, whether scores of steps are seen
KINDS = [("numpy", 1, True), ("torch", 2, False), ("numpy", 2, True), ("torch", 1, False)]


@pytest.mark.parametrize(
    ("environment_id", "mode", "kind"),
    [
        (environment_id, MODES[i % 3] if i > 1 else mode, KINDS[(i + j) % 4])
        for i, environment_id in enumerate(environment_ids(SEQUENCE_NAMES))
        for j, mode in enumerate(MODES if i < 2 else MODES[:1])  # of the other data sets one
    ],
    ids=lambda value: value.value if isinstance(value, AutoresetMode) else None,
)
def test_sequences_keep_the_contract(environment_id, mode, kind, data_options):
    array, group_size, show_scores = kind
    # a group's episodes end together: as single ones do, if no map is stopped before the others
    never_stops = "Refine" in environment_id and group_size > 1
    report = check_sequence(
        environment_id, data_options, never_stops=never_stops,
        mode=mode, array=array, group_size=group_size, show_scores=show_scores,
        **({"feedback": "noisy:0.1"} if group_size == 1 else {}),
    )  # fmt: skip
    about_others = sum(ABOUT_MODES.values()) - ABOUT_MODES[mode]
    assert len(report.skipped) == about_others + 1 + (array == "torch"), str(report)


@pytest.mark.cuda
@pytest.mark.parametrize("environment_id", environment_ids(SEQUENCE_NAMES)[:2])
def test_sequences_keep_the_contract_on_cuda(environment_id, data_options):
    check_sequence(
        environment_id, data_options, mode=AutoresetMode.SAME_STEP, array="torch", device="cuda",
        single={"array": "torch", "device": "cuda"},
        skip=["bad_actions_are_refused", "bad_actions_change_nothing"],
    )  # fmt: skip


def check_sequence(
    environment_id: str, data_options: Any, *, mode: Any, array: str, group_size: int = 1,
    never_stops: bool = False, skip: Any = (), device: str = "cpu", single: Any = None,
    **options: Any,
) -> Any:  # fmt: skip
    def edit(space: Any) -> Any:
        action = space.sample()
        action[0] %= space.nvec[0] - 1
        return action

    common = {
        **small_options(environment_id, data_options),
        "render_mode": "rgb_array",
        "horizontal_flip": True,
        **options,
    }

    def make_single() -> gym.Env:
        return OnTheHost(gym.make(environment_id, **common, **(single or {})).unwrapped)

    return check_vector_env(
        lambda n: gym.make_vec(
            environment_id, num_envs=n, autoreset_mode=mode, group_size=group_size, array=array,
            device=device, **common,
        ),
        make_single=make_single,
        group_size=group_size,
        sample_action=edit if never_stops else None,
        steps=8,  # some episodes: the other data sets have few images
        skip=skip,
    )  # fmt: skip


def test_groups_whose_maps_are_stopped_one_by_one_keep_the_contract():
    check_vector_env(
        lambda n: gym.make_vec(
            "RSS/Shapes-Refine-v0", num_envs=n, group_size=2, max_steps=3, num_scenes=12, window=8,
            **SMALL,
        ),
        group_size=2,
    )  # fmt: skip


def test_ranking_depends_on_its_group_alone():
    check_vector_env(
        lambda n: gym.make_vec(
            "RSS/Shapes-ImageReward-v0", num_envs=n, group_size=3, feedback="ranking",
            num_scenes=12, **SMALL,
        ),
        group_size=3,
        one_step=True,
    )  # fmt: skip


def test_findings_are_raised_together_with_rule_and_value():
    class Broken(ToyVectorEnv):
        def reward(self, alive):
            return super().reward(alive).astype(np.int64)

        def render(self):
            return super().render()[:1]

    with pytest.raises(ContractError) as caught:
        check_vector_env(Broken)
    assert isinstance(caught.value, AssertionError)
    rules = [finding.rule for finding in caught.value.report.findings]
    assert sorted(set(rules)) == ["render_gives_a_frame_each", "rewards_are_finite_floats"]
    assert "rewards_are_finite_floats: step 0: rewards are int64 (3,)" in str(caught.value)
    assert "gave tuple (1), not a tuple of 3 frames" in str(caught.value)
    report = check_vector_env(Broken, skip=set(rules))
    assert all(report.skipped[rule] == "left out as asked" for rule in rules)


def test_what_cannot_run_is_one_finding():
    class CannotStep(ToyVectorEnv):
        def step(self, actions):
            raise OSError("no connection")

    expected = Finding("resets_and_steps", "raised OSError: no connection")
    assert examine_vector_env(CannotStep).findings == (expected,)

    def cannot_be_made(num_envs):
        raise OSError(f"no room for {num_envs}")

    expected = Finding("resets_and_steps", "raised OSError: no room for 3")
    assert examine_vector_env(cannot_be_made).findings == (expected,)


def test_what_rests_on_a_broken_rule_is_not_counted_again():
    class Unseeded(ToyVectorEnv):
        def check_seeds(self, seed):
            unseeded: list[int | None] = [None for _ in super().check_seeds(seed)]
            return unseeded

    report = examine_vector_env(Unseeded)
    found = {finding.rule for finding in report.findings}
    assert found == {"same_seed_gives_the_same_run"}
    reason = "same_seed_gives_the_same_run, on which it rests, found something"
    assert report.skipped["pickled_copies_run_alike"] == reason
    assert "1 rules broken, 0 pieces of advice" in str(report)


def test_findings_weigh_more_or_less():
    class Forgiving(ToyVectorEnv):
        def check_actions(self, actions):
            if isinstance(actions, np.ndarray) and actions.dtype == np.int64:
                actions = actions.clip(-1, 1)
            return super().check_actions(actions)

    with pytest.raises(ContractError, match="- advice: bad_actions_are_refused: accepted") as found:
        check_vector_env(Forgiving)
    assert [f.severity for f in found.value.report.findings] == ["advice", "advice"]
    assert check_vector_env(Forgiving, raise_for="error").findings
    with pytest.raises(ContractError, match="- error: rewards_are_finite_floats"):
        check_vector_env(CountsRewards, raise_for="error")
    assert set(ADVICE) < set(RULES)


class CountsRewards(ToyVectorEnv):
    def reward(self, alive):
        return super().reward(alive).astype(np.int64)


@pytest.mark.parametrize("where", ["__init__", "reset", "close"])
def test_an_environment_that_hangs_at_once_is_one_finding(where):
    released = threading.Event()

    def hang(*_, **__):
        released.wait()

    kind: Any = type("Hangs", (ToyVectorEnv,), {where: hang})
    report = examine_vector_env(kind, seconds=0.2)
    released.set()
    [finding] = report.findings
    assert finding.message.startswith("did not come back within 0.2 s: ")
    assert "in hang" in finding.message
    expected = "closing_twice_is_harmless" if where == "close" else "resets_and_steps"
    assert finding.rule == expected or where == "close"
    assert report.skipped


def test_a_rule_that_hangs_says_where_and_ends_the_check(capsys):
    released = threading.Event()

    class HangsOnBadSeeds(ToyVectorEnv):
        def check_seeds(self, seed):
            if seed == -1:
                released.wait()
            return super().check_seeds(seed)

    report = examine_vector_env(HangsOnBadSeeds, seconds=1.0, progress=True)
    released.set()
    [finding] = report.findings
    assert finding.rule == "bad_seeds_are_refused"
    assert "in check_seeds" in finding.message
    assert report.skipped["vector_wrappers_work"] == "a rule before it did not come back"
    assert "is_a_vector_env" in report.passed
    assert "bad_seeds_are_refused" in capsys.readouterr().err  # what was being tried


def test_without_a_limit_rules_run_in_the_thread_of_the_caller():
    seen = set()

    class Tells(ToyVectorEnv):
        def observe(self):
            seen.add(threading.get_ident())
            return super().observe()

    examine_vector_env(Tells, seconds=None)
    assert seen == {threading.get_ident()}


def test_deterministic_environments_may_be_declared():
    class Still(ToyVectorEnv):
        def begin(self, which):
            self.random = [np.random.default_rng(0) for _ in self.random]
            super().begin(which)

    rules = {finding.rule for finding in examine_vector_env(Still).findings}
    assert {"seeds_make_a_difference", "unseeded_runs_differ", "episodes_differ"} <= rules
    still_found = examine_vector_env(Still, deterministic=True)
    assert not rules & set(still_found.skipped) & {f.rule for f in still_found.findings}
    assert {"seeds_make_a_difference", "unseeded_runs_differ"} <= set(still_found.skipped)


def test_actions_and_infos_can_be_adapted():
    class OnlyForward(ToyVectorEnv):
        """Allows one action of three, and measures something that no seed decides."""

        def check_actions(self, actions):
            actions = super().check_actions(actions)
            if (actions != 1).any():
                raise ValueError("only forward")
            return actions

        def live_infos(self, alive):
            noise = np.random.default_rng().random(self.num_envs)
            return {**super().live_infos(alive), "seconds": noise, "_seconds": alive.copy()}

    assert "only forward" in str(examine_vector_env(OnlyForward))
    check_vector_env(OnlyForward, sample_action=lambda space: 1, ignore_infos=["seconds"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 1}, "two or more whole groups"),
        ({"num_envs": 4, "group_size": 3}, "group_size=3, got 4"),
        ({"group_size": 0}, "group_size=0"),
        ({"skip": ["all"]}, "unknown rule 'all'; valid: is_a_vector_env"),
        ({"seconds": 0}, "seconds must be positive, or None, got 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        examine_vector_env(ToyVectorEnv, **options)


# --- the page ---


def test_the_page_describes_every_rule():
    described = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert described == list(RULES)
    for rule in RULES.values():
        assert rule.__doc__


def test_the_test_on_the_page_passes():
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code[0], "vector-env-checker.md", "exec"), names)
    names["test_the_vector_environment_keeps_the_contract"]()


GYMNASIUM = {
    "`CartPole-v1`, sync, NextStep": ("CartPole-v1", "sync", AutoresetMode.NEXT_STEP),
    "`CartPole-v1`, sync, SameStep": ("CartPole-v1", "sync", AutoresetMode.SAME_STEP),
    "`CartPole-v1`, sync, Disabled": ("CartPole-v1", "sync", AutoresetMode.DISABLED),
    "`CartPole-v1`, its own vector environment": ("CartPole-v1", "vector_entry_point", None),
    "`FrozenLake-v1`, sync, SameStep": ("FrozenLake-v1", "sync", AutoresetMode.SAME_STEP),
    "`Blackjack-v1`, sync, SameStep": ("Blackjack-v1", "sync", AutoresetMode.SAME_STEP),
    "`Pendulum-v1`, sync, SameStep": ("Pendulum-v1", "sync", AutoresetMode.SAME_STEP),
}


@pytest.mark.filterwarnings("ignore")  # Gymnasium warns of NaN, and goes on
@pytest.mark.parametrize("name", GYMNASIUM)
def test_the_page_says_what_is_found_in_gymnasiums_own(name):
    pytest.importorskip("array_api_compat", reason="NumpyToTorch needs it")
    if f"Gymnasium {gym.__version__}," not in PAGE:
        pytest.skip(f"the page is about another version than {gym.__version__}")
    environment_id, how, mode = GYMNASIUM[name]
    arguments: dict[str, Any] = {} if mode is None else {"vector_kwargs": {"autoreset_mode": mode}}
    report = examine_vector_env(
        lambda n: gym.make_vec(environment_id, n, vectorization_mode=how, **arguments),
        make_single=lambda: gym.make(environment_id),
    )
    row = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    assert re.findall(r"`(\w+)`", row[1]) == list(
        dict.fromkeys(finding.rule for finding in report.findings)
    )
