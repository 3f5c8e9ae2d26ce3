"""The hyper-parameters of the search for biases."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rss_env.errors import check_value


@dataclass(frozen=True)
class BiasSearchConfig:
    """How the biases of classes are searched."""

    scores: int = 2000
    """Scores that the search asks for at most (but see least_explained), the first of a budget; 0:
    no search."""
    budget_share: float = 0.33
    """Share of a budget of scores (--queries) that it takes at most (but see least_explained); the
    rest is learned from."""
    spread: float | None = None
    """Deviation of the noise of a bias, in logits; None: 0.35 under expert regions, otherwise
    0.5."""
    share: float | None = None
    """Share of the classes that are disturbed in a map; None: 1 under expert regions, as every
    score says something of each class then, otherwise 0.4."""
    rate: float = 0.15
    """Learning rate at the start, in logits; it falls to 0 with the root of what is left."""
    least_explained: float = 0.05
    """Expert regions: which share of the differences of scores regions have to explain
    (`explained`, in the logs). As long as it is less, the search takes up to twice as long: what
    scores do not tell of regions they may tell of biases, which are far fewer."""

    def settled(self, *, few_scores: bool) -> BiasSearchConfig:
        """The same with all that is left open, for few scores or many."""
        spread, share = (0.35, 1.0) if few_scores else (0.5, 0.4)
        return dataclasses.replace(
            self,
            spread=spread if self.spread is None else self.spread,
            share=share if self.share is None else self.share,
        )

    def check(self) -> None:
        """Refuse values that search nothing, with an `InputError`."""
        check_value(self.scores >= 0, "bias_search scores", "at least 0", self.scores)
        settled = self.settled(few_scores=False)
        for name in ("share", "budget_share"):
            value = getattr(settled, name)
            check_value(0 < value <= 1, f"bias_search {name}", "in 0..1, above 0", value)
        for name in ("spread", "rate"):
            value = getattr(settled, name)
            check_value(0 < value < float("inf"), f"bias_search {name}", "positive", value)
        least = self.least_explained
        check_value(0 <= least <= 1, "bias_search least_explained", "in 0..1", least)
