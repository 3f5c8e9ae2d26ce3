"""The arguments of environments whose episodes take several steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from rss_env.arguments import check_flag, check_whole_number
from rss_env.config import EnvironmentConfig
from rss_env.errors import InputError

MAJORITY = "majority"
# One map is scored at a time, as a whole; actions have one format; a pass is of single answers.
_OF_ONE_STEP = (
    *("class_balanced", "class_scores", "scale_scores", "scale_weights", "action_format"),
    "evaluation",
)


@dataclass(kw_only=True)
class SequentialConfig(EnvironmentConfig):
    """Arguments of every environment of several steps."""

    show_scores: bool = True
    """Tell the score of each step's map, and pay its gain; otherwise nothing is told before the
    last step, which pays the whole gain."""

    def check(self) -> None:
        """See `EnvironmentConfig.check`."""
        super().check()
        check_flag("show_scores", self.show_scores)

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in super()._names() if name not in _OF_ONE_STEP]


@dataclass(kw_only=True)
class ProgressiveConfig(SequentialConfig):
    """Arguments of episodes that draw one grid a step, coarse to fine."""

    level: str = "Progressive"
    levels: ClassVar[tuple[str, ...]] = ("Progressive",)


@dataclass(kw_only=True)
class RefineConfig(SequentialConfig):
    """Arguments of episodes that edit one map, a window a step."""

    level: str = "Refine"
    levels: ClassVar[tuple[str, ...]] = ("Refine",)
    max_steps: int | None = None
    """Steps after which an episode is truncated; None: as many as there are windows."""
    window: int | None = None
    """Side of the windows that are edited, in cells of the finest scale; None: the largest that
    divides the grid, up to 8."""
    start: str | Callable[[Any], Any] = MAJORITY
    """The map that an episode begins with: majority, the most frequent class of the split
    everywhere; or module:function, or in Python a callable, from images to class indices."""

    def check(self) -> None:
        """See `EnvironmentConfig.check`."""
        super().check()
        for name in ("max_steps", "window"):
            if (value := getattr(self, name)) is not None:
                check_whole_number(name, value, 1)
        named = isinstance(self.start, str) and (self.start == MAJORITY or ":" in self.start)
        if not named and not callable(self.start):
            raise InputError(
                f"start must be {MAJORITY!r}, 'module:function' or a callable, got {self.start!r}"
            )
