"""The options of looking at large images in windows."""

from __future__ import annotations

from dataclasses import dataclass

from rss_env.errors import InputError

_SMALLEST, _LARGEST = 1 / 16, 16.0  # scale
_MOST_OVERLAP = 0.9  # at which every pixel is seen a hundred times


@dataclass
class TileConfig:
    """Options of looking at images in windows."""

    tiles: bool = False
    """Look at images in overlapping windows of the size trained at, instead of resizing the whole
    image to that size."""
    scale: float = 1.0
    """With --tiles: how much images are enlarged; at 0.5 a window shows twice as much a side."""
    overlap: float = 0.5
    """With --tiles: share of a window's side that the next window shows again."""

    def check(self) -> None:
        """Refuse values that make no windows or have no effect, with an `InputError`."""
        if not _SMALLEST <= self.scale <= _LARGEST:  # (false for NaN)
            raise InputError(f"scale must be in {_SMALLEST}..{_LARGEST:g}, got {self.scale}")
        if not 0 <= self.overlap <= _MOST_OVERLAP:
            raise InputError(f"overlap must be in 0..{_MOST_OVERLAP}, got {self.overlap}")
        if not self.tiles and self != TileConfig():
            raise InputError("scale and overlap are of windows: give --tiles as well")
