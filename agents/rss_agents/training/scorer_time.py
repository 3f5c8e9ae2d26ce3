"""The time that a scorer takes per call, from one look to the next and in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rss_agents.training.guarded_scorer import GuardedScorer
from rss_env.feedback import AnyScorer


class ScorerTime:
    """Reads the clock of a guarded scorer; of labels and of a person there is nothing to say."""

    def __init__(self, scorer: AnyScorer | None):
        """Bind the scorer of a run."""
        self._scorer = scorer if isinstance(scorer, GuardedScorer) else None
        self._before: tuple[int, float] = (0, 0.0)  # of an earlier part of the run
        self._seen: tuple[int, float] = (0, 0.0)

    def _now(self) -> tuple[int, float]:
        return (0, 0.0) if self._scorer is None else (self._scorer.calls, self._scorer.seconds)

    def since_last(self) -> dict[str, float]:
        """Mean seconds per call since this was last asked; nothing if there was none."""
        (calls, seconds), (calls_then, seconds_then) = self._now(), self._seen
        self._seen = (calls, seconds)
        if calls == calls_then:
            return {}
        return {"scorer_seconds_per_call": (seconds - seconds_then) / (calls - calls_then)}

    def report(self) -> dict[str, Any]:
        """Calls and mean seconds per call of the whole run; nothing without such a scorer."""
        if self._scorer is None:
            return {}
        calls, seconds = self.get_state()
        mean = seconds / calls if calls else None
        return {"scorer_calls": calls, "scorer_seconds_per_call": mean}

    def get_state(self) -> tuple[int, float]:
        """Calls and seconds of the whole run so far."""
        (calls, seconds), (earlier, before) = self._now(), self._before
        return (calls + earlier, seconds + before)

    def go_on(self, saved: Sequence[Any]) -> None:
        """Count on from a state of `get_state`."""
        calls, seconds = saved
        self._before = (int(calls), float(seconds))
