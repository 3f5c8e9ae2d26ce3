"""Check any Gymnasium vector environment against the contract: `check_vector_env`.

Gymnasium ships a checker for single environments only. This one holds for vector environments what
`gymnasium.utils.env_checker.check_env` holds for single ones, and what training code relies on
beyond it: autoreset, masks, seeds, independence, memory, copies.

    checker.py           the functions below, and the table of rules
    interface_rules.py   what is declared and returned: spaces, types, shapes, infos
    episode_rules.py     how episodes begin and end in each autoreset mode
    randomness_rules.py  what seeds decide, and what must not depend on what
    robustness_rules.py  shared memory, bad input, closing, copies, wrappers
    subject.py           how rules open an environment and act in it
    comparison.py        deep comparison of what environments give
    refusals.py          whether bad input is refused and changes nothing
    rule_weights.py      what findings weigh, and which rules rest on which
    time_limit.py        giving up on what does not come back
"""

from __future__ import annotations

from rss_env.testing.checker import (
    RULES,
    ContractError,
    Finding,
    Report,
    check_vector_env,
    examine_vector_env,
)

__all__ = [
    "RULES",
    "ContractError",
    "Finding",
    "Report",
    "check_vector_env",
    "examine_vector_env",
]
