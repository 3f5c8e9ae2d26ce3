"""Shared by the rules about bad input: was it refused, and did it change anything?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rss_env.testing.subject import SEED, AnyVectorEnv, Subject, difference_of_traces

Attempt = Callable[[AnyVectorEnv], Any]


def refusals(attempts: Mapping[str, Attempt], env: AnyVectorEnv) -> Iterator[str]:
    """Name each attempt that did not raise."""
    for name, attempt in attempts.items():
        try:
            attempt(env)
        except Exception:
            continue
        yield f"accepted {name}"


def changes(subject: Subject, attempts: Mapping[str, Attempt]) -> Iterator[str]:
    """Name each refused attempt after which the environment goes on otherwise than without it."""
    with subject.opened() as env, subject.opened() as witness:
        want = subject.trace(witness)[1:]
        for name, attempt in attempts.items():
            env.reset(seed=SEED)
            try:
                attempt(env)
            except Exception:
                found = difference_of_traces(subject.trace(env, resets=False), want)
                if found is not None:
                    yield f"after {name}, {found}"
