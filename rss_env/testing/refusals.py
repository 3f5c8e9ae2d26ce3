"""What the rules about bad input share: was it refused, and did it change anything?"""

from __future__ import annotations

import contextlib
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
    """Name each attempt after which the environment goes on in another way than without it."""
    with subject.opened() as witness:
        witness.reset(seed=SEED)
        want = subject.trace(witness, resets=False)
    for name, attempt in attempts.items():
        with subject.opened() as env:
            env.reset(seed=SEED)
            with contextlib.suppress(Exception):
                attempt(env)
            found = difference_of_traces(subject.trace(env, resets=False), want)
            if found is not None:
                yield f"after {name}, {found}"
