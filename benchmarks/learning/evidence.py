"""What makes results evidence: seeds that nothing was tuned on, enough of them, and a commit.

Seeds 0 to 9 are for tuning: defaults may be chosen on them, and what they give is a lead. Results
come from seeds of 100 and more, which nobody looks at until a version is settled.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rss_env.errors import InputError

FIRST_RESULT_SEED = 100
MOST_WATCHED = ("shapes", "camvid")  # suites on which the default agent is judged
SEEDS_ELSEWHERE = 5
TUNED = "**A tuning, no result:** defaults may have been chosen on these seeds.\n\n"
_TUNING_SEEDS = (0, 1, 2)
_REPOSITORY = Path(__file__).parents[2]
RESULTS = _REPOSITORY / "benchmarks" / "results"
_MEASURED_CODE = ("rss_env", "agents", "benchmarks", ":(exclude)benchmarks/results")


def seeds_needed(suite: str, algo: str) -> int:
    """How many seeds a result of a way to learn on a suite rests on, at least."""
    return 8 if suite in MOST_WATCHED and algo in ("rss", "psl") else SEEDS_ELSEWHERE


def result_seeds(suite: str, algo: str) -> tuple[int, ...]:
    """Seeds that make a result of a way to learn."""
    return tuple(range(FIRST_RESULT_SEED, FIRST_RESULT_SEED + seeds_needed(suite, algo)))


def check_seeds(name: str, seeds: Sequence[int], needed: int = SEEDS_ELSEWHERE) -> None:
    """Refuse seeds that make no result.

    Args:
        name: Of what was run on them, for the message.
        seeds: The seeds.
        needed: How many, at least.

    Raises:
        InputError: If defaults may have been chosen on one of them, or there are too few.
    """
    tuned = [seed for seed in seeds if seed < FIRST_RESULT_SEED]
    if tuned:
        raise InputError(
            f"{name}: seeds {' '.join(map(str, tuned))} are no evidence, defaults are chosen on "
            f"such; valid: seeds from {FIRST_RESULT_SEED}, or --tuning"
        )
    if len(set(seeds)) < needed:
        raise InputError(
            f"{name}: {len(set(seeds))} seeds are no result; valid: at least {needed}, or --tuning"
        )


def settled_seeds(
    suite: str, algos: Sequence[str], seeds: Sequence[int], out: Path, tuning: bool
) -> dict[str, Sequence[int]]:
    """The seeds of each way to learn of a comparison, checked before anything runs.

    Args:
        suite: Name of the data.
        algos: Ways to learn.
        seeds: Those that are asked for; none for as many as are needed.
        out: Folder of the report.
        tuning: Whether it is a try, and no result.

    Raises:
        InputError: If they make no result and it is no tuning, or a tuning is to be written among
            the results.
    """
    if tuning:
        if out.resolve().is_relative_to(RESULTS):
            raise InputError(
                f"--out {out}: a tuning is no result; valid: a folder outside {RESULTS}"
            )
        return dict.fromkeys(algos, seeds or _TUNING_SEEDS)
    for algo in algos if seeds else ():
        check_seeds(f"{suite} {algo}", seeds, seeds_needed(suite, algo))
    return {algo: seeds or result_seeds(suite, algo) for algo in algos}


def check_results(path: Path) -> None:
    """Refuse a CSV of results whose seeds make none: with columns algo, seed and, if any, suite.

    Raises:
        InputError: See `check_seeds`.
    """
    seeds: dict[tuple[str, str], set[int]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            of = (line.get("suite", ""), line["algo"])
            seeds.setdefault(of, set()).add(int(line["seed"]))
    for (suite, algo), found in seeds.items():
        name = f"{path}: {suite} {algo}"
        check_seeds(name, sorted(found), seeds_needed(suite, algo))


def commit() -> str:
    """The commit of the code that is measured, and whether it has changes beside it."""

    def git(*arguments: str) -> str:
        command = ("git", "-C", str(_REPOSITORY), *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        known = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *_MEASURED_CODE)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{known} with changes" if changed else known
