"""The options of learning the best maps in other views of their images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rss_env.errors import check_value

if TYPE_CHECKING:  # torch, which a command that shows its options need not wait for
    from rss_env.augmentation import Augmentation


@dataclass(frozen=True)
class LearnedViewsConfig:
    """How images and their best maps vary together; what is scored are images as they are."""

    zoom: tuple[float, float] | None = (1.0, 1.67)
    """Lowest and highest factor, drawn log-uniformly: a window of an image fills the frame. None
    for whole images."""
    colour_jitter: float = 0.3
    """How far the factors of brightness, contrast and saturation go from 1."""
    share: float = 0.5
    """Share of a batch's images that are varied; the others keep what is known of images as they
    are, such as statistics of the normalisation."""

    def check(self) -> None:
        """Refuse values that make no views, with an `InputError`."""
        check_value(0 <= self.share <= 1, "views share", "in 0..1", self.share)
        self.augmentation()

    def augmentation(self) -> Augmentation:
        """What draws views.

        Raises:
            InputError: If `zoom` or `colour_jitter` is invalid.
        """
        from rss_env.augmentation import Augmentation

        return Augmentation.parse(False, self.zoom, self.colour_jitter)
