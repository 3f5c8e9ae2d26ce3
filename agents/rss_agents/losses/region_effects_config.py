"""The options of telling from scores what classes add to them, region by region."""

from __future__ import annotations

from dataclasses import dataclass

from rss_env.errors import InputError, check_value


@dataclass(frozen=True)
class RegionEffectsConfig:
    """Effects of an image's regions on its scores, and what is made of them."""

    regions: int = 16
    """Most regions along a side."""
    weight: float = 2.0
    """By how much an effect of the usual size adds to the start's log-probability of a class, in
    the maps that are learned; less, as scores are less explained by effects."""
    proposed: tuple[float, ...] = (1.0, 3.0)
    """The same in maps that are proposed: one map for each weight, as far as half of those that are
    no answers; the others vary around the network's answers."""

    def check(self) -> None:
        """Refuse values that tell nothing, with an `InputError`."""
        check_value(self.regions >= 1, "effects regions", "at least 1", self.regions)
        for name, weights in (("weight", (self.weight,)), ("proposed", self.proposed)):
            if not all(0 < weight < float("inf") for weight in weights):
                raise InputError(f"effects {name} must be positive, got {getattr(self, name)}")
