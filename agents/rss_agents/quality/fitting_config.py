"""The options of fitting a judge."""

from __future__ import annotations

from dataclasses import dataclass

from rss_env.errors import check_value


@dataclass(frozen=True)
class FittingConfig:
    """How a judge is fitted."""

    members: int = 4
    """Networks, each fitted to its own draw of the images."""
    steps: int = 600
    """Steps of each."""
    batch: int = 32
    """Maps a step."""
    held_out: float = 0.2
    """Share of the images that it is checked on and never fitted to."""
    learning_rate: float = 2e-3
    """Peak of the one-cycle schedule."""
    seed: int = 0
    """Of the weights and of all draws."""

    def check(self) -> None:
        """Refuse values that make no judge, with an `InputError`."""
        for name in ("steps", "batch"):
            check_value(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        check_value(self.members >= 2, "members", "at least 2", self.members)
        check_value(0 < self.held_out < 1, "held_out", "between 0 and 1", self.held_out)
        rate = self.learning_rate
        check_value(0 < rate < float("inf"), "learning_rate", "positive", rate)
