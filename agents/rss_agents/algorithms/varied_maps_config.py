"""The options of drawing maps that differ in whole regions."""

from __future__ import annotations

from dataclasses import dataclass

from rss_env.errors import InputError, check_value


@dataclass(frozen=True)
class VariedMapsConfig:
    """Maps that differ in whole regions: logits disturbed by noise of each map's own strength."""

    weakest: float = 0.5
    """Least deviation of the noise, which moves borders."""
    strongest: float = 4.0
    """Largest deviation of the noise, which makes maps of a few regions of a few classes."""
    region_noise: float = 1.5
    """Deviation of the noise of regions, over that of the whole image."""
    most_regions: int = 4
    """Most regions along a side."""

    def check(self) -> None:
        """Refuse values that draw no maps, with an `InputError`."""
        if not 0 < self.weakest <= self.strongest < float("inf"):
            raise InputError(
                "varied_maps weakest and strongest must be positive and in order, got "
                f"{self.weakest} and {self.strongest}"
            )
        check_value(
            0 <= self.region_noise < float("inf"),
            "varied_maps region_noise",
            "at least 0",
            self.region_noise,
        )
        check_value(
            self.most_regions >= 1, "varied_maps most_regions", "at least 1", self.most_regions
        )
