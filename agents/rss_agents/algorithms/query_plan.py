"""When scores are asked for, if there are fewer to be had than updates to be made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rss_env.errors import InputError


@dataclass(frozen=True)
class QueryPlan:
    """Batches of score queries, spread evenly over the updates of a training.

    Attributes:
        batches: How often a batch of maps is scored; at least 1, at most `updates`.
        updates: Number of updates. Those that do not ask learn from what is remembered.
        at_once: How many of the batches the first updates ask for, one each; the others are spread
            over the updates that are left.
    """

    batches: int
    updates: int
    at_once: int = 0

    @classmethod
    def of_budget(cls, queries: int, per_batch: int, updates: int) -> QueryPlan:
        """The plan that asks for as many scores as a budget allows.

        Args:
            queries: Scores that may be asked for.
            per_batch: Scores of a batch: images x maps of each x scales.
            updates: Number of updates.

        Raises:
            InputError: If it is less than one batch, or more than every update asks for.
        """
        if not per_batch <= queries <= updates * per_batch:
            raise InputError(
                f"queries must be between one batch (images x group size x scales = {per_batch}) "
                f"and what {updates} updates ask for ({updates * per_batch}), got {queries}; "
                "smaller batches come of --num-images, --group-size and --scales, larger budgets "
                "need more --updates"
            )
        return cls(queries // per_batch, updates)

    def asking_until(self, update: int) -> QueryPlan:
        """The same plan with a batch for each of the first `update` updates, if there are so many.

        Only for what has asked each time so far.
        """
        return dataclasses.replace(self, at_once=min(update, self.batches))

    def batches_before(self, update: int) -> int:
        """How many batches are asked for by the first `update` updates."""
        if update <= self.at_once:
            return update
        left, updates = self.batches - self.at_once, self.updates - self.at_once
        return self.at_once - (-(update - self.at_once) * left // updates)

    def asks(self, update: int) -> bool:
        """Tell whether an update, counted from 0, asks; the first one does."""
        return self.batches_before(update + 1) > self.batches_before(update)
