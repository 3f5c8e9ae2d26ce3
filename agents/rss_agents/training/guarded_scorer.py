"""A scorer of the user's own in a training: what it raises is told in a line, and it may not hang.

Answers that are no scores are refused by the environment itself.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rss_env.errors import InputError
from rss_env.feedback import AnyScorer, ScoringContext, takes_context


class ScorerFailedError(RuntimeError):
    """A scorer raised an error, or did not answer in time."""


class _OutOfTimeError(BaseException):
    """Raised inside the scorer; no `except Exception` of its own shall keep it."""


class GuardedScorer:
    """Calls a scorer under a time limit, and counts how often and for how long.

    Attributes:
        calls: Calls that were answered.
        seconds: Time that they took in all.
    """

    def __init__(self, scorer: AnyScorer, name: str, seconds: float):
        """Guard a scorer.

        Args:
            scorer: What is called.
            name: As messages should name it.
            seconds: It may take for one call; infinite for any time.
        """
        self._ask: Any = scorer
        self._name, self._most_seconds = name, seconds
        self._takes_context = takes_context(scorer)
        self.calls, self.seconds = 0, 0.0

    def __call__(self, images: Any, action_maps: Any, context: ScoringContext | None = None) -> Any:
        """See `rss_env.feedback.Scorer`; the context is passed on to a scorer that takes one.

        Raises:
            ScorerFailedError: If it raises an error or is out of time.
        """
        more = {"context": context} if self._takes_context else {}
        began = time.perf_counter()
        try:
            with _time_limit(self._most_seconds):
                answer = self._ask(images, action_maps, **more)
        except _OutOfTimeError:
            raise ScorerFailedError(
                f"scorer {self._name} has not answered within {self._most_seconds:g} s; "
                "--scorer-timeout allows more"
            ) from None
        except InputError:
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = str(error).strip().split("\n")[0][:200]
            raise ScorerFailedError(
                f"scorer {self._name} raised {type(error).__name__}: {said} "
                f"({place.filename}, line {place.lineno})"
            ) from error
        self.calls += 1
        self.seconds += time.perf_counter() - began
        return answer


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_OutOfTimeError` in here after so many seconds.

    Only where signals can be had: in the main thread, of a system that has alarms.
    """
    has_alarms = hasattr(signal, "setitimer")
    if (
        seconds == float("inf")
        or not has_alarms
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(*_: Any) -> None:
        raise _OutOfTimeError

    began, handler = time.monotonic(), signal.signal(signal.SIGALRM, stop)
    before, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before:  # somebody else's alarm goes on
            left = max(before - (time.monotonic() - began), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)
