"""The hyper-parameters of the search for biases."""

from __future__ import annotations

from dataclasses import dataclass

from rss_env.errors import check_value


@dataclass(frozen=True)
class BiasSearchConfig:
    """How the biases of classes are searched."""

    scores: int = 2000
    """Scores that the search asks for at most, the first of a budget; 0: no search."""
    budget_share: float = 0.33
    """Share of a budget of scores (--queries) that it takes at most; the rest is learned from."""
    spread: float = 0.5
    """Deviation of the noise of a bias, in logits."""
    share: float = 0.4
    """Share of the classes that are disturbed in a map."""
    rate: float = 0.15
    """Learning rate at the start, in logits; it falls to 0 with the root of what is left."""

    def check(self) -> None:
        """Refuse values that search nothing, with an `InputError`."""
        check_value(self.scores >= 0, "bias_search scores", "at least 0", self.scores)
        for name in ("share", "budget_share"):
            value = getattr(self, name)
            check_value(0 < value <= 1, f"bias_search {name}", "in 0..1, above 0", value)
        for name in ("spread", "rate"):
            value = getattr(self, name)
            check_value(0 < value < float("inf"), f"bias_search {name}", "positive", value)
