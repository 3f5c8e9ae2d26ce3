"""Run the rules over an environment and say what was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from tqdm import tqdm

from rss_env.errors import InputError, check_choice, check_value
from rss_env.testing import episode_rules, interface_rules, randomness_rules, robustness_rules
from rss_env.testing.comparison import as_numpy, leaves
from rss_env.testing.rule_weights import Severity, foundations, severity_of
from rss_env.testing.subject import SEED, AnyVectorEnv, Inapplicable, Subject
from rss_env.testing.time_limit import DidNotReturn, within

Rule = Callable[[Subject], Iterator[str]]

_MODULES = (interface_rules, episode_rules, randomness_rules, robustness_rules)

RULES: dict[str, Rule] = {rule.__name__: rule for m in _MODULES for rule in m.RULES}
"""Every rule by its name; the first line of its docstring says what it holds."""

RUNS = "resets_and_steps"  # without it no rule can say anything
STEPS_AFTER_AN_END = 2
MOST_MESSAGES = 3  # of one rule: what is wrong in every step need be said but once or twice


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the contract says.

    Attributes:
        rule: Name of the rule, a key of `RULES` (or `resets_and_steps`).
        message: What was met, with the offending value.
    """

    rule: str
    message: str

    @property
    def severity(self) -> Severity:
        """`error`, or `advice` for what Gymnasium does not ask for."""
        return severity_of(self.rule)

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


@dataclass(frozen=True)
class Report:
    """Outcome of every rule.

    Attributes:
        findings: What is wrong, in the order of the rules.
        passed: Rules that found nothing.
        skipped: Rules that were not applied, with the reason.
    """

    findings: tuple[Finding, ...]
    passed: tuple[str, ...]
    skipped: dict[str, str]

    def __str__(self) -> str:
        errors, advice = (
            len({f.rule for f in self.findings if f.severity == s}) for s in ("error", "advice")
        )
        lines = [
            f"{errors} rules broken, {advice} pieces of advice, {len(self.passed)} rules passed, "
            f"{len(self.skipped)} skipped"
        ]
        lines += [f"- {finding.severity}: {finding}" for finding in self.findings]
        for reason in dict.fromkeys(self.skipped.values()):
            rules = [rule for rule, why in self.skipped.items() if why == reason]
            named = ", ".join(rules) if len(rules) < len(RULES) else "every rule"
            lines.append(f"- skipped, as {reason}: {named}")
        return "\n".join(lines)


class ContractError(AssertionError):
    """An environment breaks the contract of vector environments; the message lists how.

    Attributes:
        report: The findings, and what became of the other rules.
    """

    def __init__(self, report: Report):
        self.report = report
        super().__init__(str(report))


def examine_vector_env(
    make: Callable[[int], AnyVectorEnv],
    *,
    make_single: Callable[[], gym.Env[Any, Any]] | None = None,
    num_envs: int | None = None,
    group_size: int = 1,
    one_step: bool = False,
    deterministic: bool = False,
    sample_action: Callable[[gym.Space[Any]], Any] | None = None,
    ignore_infos: Collection[str] = (),
    steps: int = 6,
    max_steps: int = 100,
    skip: Collection[str] = (),
    seconds: float | None = 120.0,
    progress: bool = False,
) -> Report:
    """Check any vector environment against the contract, rule by rule; never raises for a finding.

    Args:
        make: Gives a new environment of so many sub-environments, always with the same arguments.
            It is called about a hundred times. The autoreset mode is read from the metadata.
        make_single: Gives the single environment that each sub-environment should equal.
        num_envs: How many sub-environments most rules use; None for three groups.
        group_size: How many neighbouring sub-environments begin alike and may be compared with
            each other; they are seeded and reset together.
        one_step: Whether every episode should end by terminating after one step.
        deterministic: Whether seeds, sub-environments and episodes need not differ.
        sample_action: Draws one action from a (seeded) `single_action_space`, for environments
            in which not every action is allowed; None for the space's own `sample`.
        ignore_infos: Infos that may differ between equal runs, such as times.
        steps: How many steps runs are compared over; more if the first episode takes longer.
        max_steps: How many steps to wait for an episode to end.
        skip: Names of rules to leave out.
        seconds: How long a rule may take: one that does not come back, as where an environment
            deadlocks, is a finding, and ends the check. Rules run in threads of their own for
            that; None: in the caller's, for as long as they take.
        progress: Whether to show on stderr which rule is being tried.

    Returns:
        Outcome of every rule. One that rests on another that found something is skipped: it would
        count the same fault again.

    Raises:
        InputError: If an option is invalid.
    """
    check_value(seconds is None or seconds > 0, "seconds", "positive, or None", seconds)
    number = 3 * group_size if num_envs is None else num_envs
    if group_size < 1 or number % group_size or number < 2 * group_size:
        raise InputError(
            f"num_envs must be two or more whole groups of group_size={group_size}, got {number}"
        )
    for name in skip:
        check_choice("rule", name, RULES)
    subject = Subject(
        make,
        number,
        group_size=group_size,
        make_single=make_single,
        sample_action=sample_action,
        one_step=one_step,
        deterministic=deterministic,
        ignore_infos=frozenset(ignore_infos),
        steps=steps,
        max_steps=max_steps,
    )
    held: AnyVectorEnv | None = None  # kept open, so that what environments share stays loaded
    try:
        held = within(seconds, lambda: make(number))
        subject = within(seconds, lambda: _acquainted(subject, held))
        return _apply(subject, skip, seconds, progress)
    except Exception as error:
        finding = Finding(RUNS, _described(error))
        return Report((finding,), (), dict.fromkeys(RULES, "it cannot be reset and stepped"))
    finally:
        if held is not None:
            with contextlib.suppress(Exception):  # of what hangs, or raises: it was told above
                within(seconds, held.close)


def check_vector_env(
    make: Callable[[int], AnyVectorEnv],
    *,
    raise_for: Literal["advice", "error"] = "advice",
    **options: Any,
) -> Report:
    """Check any vector environment against the contract, as `check_env` does single ones.

    Args:
        make: Gives a new environment of so many sub-environments.
        raise_for: `advice`, any finding; or `error`, findings of what Gymnasium's interface
            promises.
        **options: Those of `examine_vector_env`.

    Returns:
        The report: which rules passed, and which were skipped and why.

    Raises:
        ContractError: An `AssertionError` that lists every finding, if there is one to raise for.
        InputError: If an option is invalid.
    """
    check_choice("raise_for", raise_for, ("advice", "error"))
    report = examine_vector_env(make, **options)
    if any(raise_for == "advice" or finding.severity == "error" for finding in report.findings):
        raise ContractError(report)
    return report


def _apply(
    subject: Subject, skip: Collection[str], seconds: float | None, progress: bool
) -> Report:
    findings: dict[str, list[Finding]] = {}
    passed: list[str] = []
    skipped = dict.fromkeys(skip, "left out as asked")
    with tqdm(_order(), "checking", unit="rule", disable=not progress) as names:
        for name in names:
            names.set_postfix_str(name)
            if name in skip:
                continue
            if shaken := [first for first in foundations(name) if first in findings]:
                skipped[name] = f"{shaken[0]}, on which it rests, found something"
                continue
            try:
                messages = within(
                    seconds, lambda name=name: list(islice(RULES[name](subject), MOST_MESSAGES))
                )
            except Inapplicable as reason:
                skipped[name] = str(reason)
                continue
            except DidNotReturn as reason:
                findings[name] = [Finding(name, str(reason))]
                break
            except Exception as error:
                messages = [_described(error)]
            if messages:
                findings[name] = [Finding(name, message) for message in messages]
            else:
                passed.append(name)
    for name in RULES:
        if name not in (*findings, *passed, *skipped):
            skipped[name] = "a rule before it did not come back"
    told = tuple(finding for name in RULES for finding in findings.get(name, ()))
    return Report(told, tuple(name for name in RULES if name in passed), skipped)


def _order() -> list[str]:
    """The rules, each behind those that it rests on."""
    ordered: list[str] = []

    def add(name: str) -> None:
        for first in foundations(name):
            add(first)
        if name not in ordered:
            ordered.append(name)

    for name in RULES:
        add(name)
    return ordered


def _acquainted(subject: Subject, env: AnyVectorEnv) -> Subject:
    """The subject with what its environment shows by itself: mode, device, length of episodes."""
    device = _device(env.reset(seed=SEED)[0])
    subject = replace(subject, mode=_mode(env), device=device)
    return replace(subject, steps=_steps_past_an_end(subject, env))


def _steps_past_an_end(subject: Subject, env: AnyVectorEnv) -> int:
    """Count the steps to an episode's end and what follows, if there is one, for every rule."""
    step = 0
    for label, result, _ in subject.results(env, steps=subject.max_steps):
        step += label.startswith("step")
        if len(result) == 5 and np.logical_or(*as_numpy(result[2:4])).any():
            return max(subject.steps, step + STEPS_AFTER_AN_END)
    return subject.steps


def _mode(env: AnyVectorEnv) -> AutoresetMode | None:
    for mode in (env.metadata.get("autoreset_mode"), getattr(env, "autoreset_mode", None)):
        if isinstance(mode, AutoresetMode):
            return mode
    return None


def _device(observations: Any) -> torch.device | None:
    arrays = [leaf for _, leaf in leaves(observations)]
    return next((a.device for a in arrays if isinstance(a, torch.Tensor)), None)


def _described(error: Exception) -> str:
    if isinstance(error, DidNotReturn):
        return str(error)
    return f"raised {type(error).__name__}: {str(error)[:300]}"
