"""A window on the screen that shows frames: `render_mode="human"`."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from rss_env.errors import InputError
from rss_env.rendering import ByteArray, enlarged, panel_grid

MOST_FRAMES = 64  # of a vector environment; more would be too small to see
LEAST_WIDTH = 256  # pixels of the window


class Window:
    """A window of pygame, opened with the first frames it shows.

    Without a screen, the environment variable SDL_VIDEODRIVER=dummy lets it draw into nothing.
    """

    def __init__(self, title: str, frames_per_second: float):
        """Make sure that there can be a window.

        Args:
            title: What its bar says.
            frames_per_second: Most frames shown in a second: `show` waits.

        Raises:
            InputError: If pygame is not installed.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ImportError:
            raise InputError(
                "render_mode='human' opens a window with pygame; get it with: "
                "pip install 'rss-env[window]'"
            ) from None
        self._pygame, self._title, self._rate = pygame, title, frames_per_second
        self._screen: pygame.Surface | None = None
        self._clock = pygame.time.Clock()

    def show(self, frames: Sequence[ByteArray]) -> None:
        """Show frames (H, W, 3) uint8 of one size beside each other, the first 64 of them.

        Raises:
            InputError: If there is no screen to open a window on.
        """
        frames = frames[:MOST_FRAMES]
        columns = math.ceil(math.sqrt(len(frames)))
        side = LEAST_WIDTH // columns
        panels = [enlarged(frame, side) for frame in frames]
        rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
        picture = np.swapaxes(panel_grid(rows), 0, 1)  # pygame's first axis is x
        if self._screen is None:
            self._open(picture.shape[:2])
        assert self._screen is not None
        self._pygame.event.pump()  # or the desktop takes the program for one that hangs
        self._pygame.surfarray.blit_array(self._screen, picture)
        self._pygame.display.flip()
        self._clock.tick(self._rate)

    def _open(self, size: tuple[int, ...]) -> None:
        try:
            self._pygame.display.init()
            self._screen = self._pygame.display.set_mode((size[0], size[1]))
        except self._pygame.error as error:
            raise InputError(
                f"render_mode='human' found no screen ({error}); render_mode='rgb_array' needs none"
            ) from None
        self._pygame.display.set_caption(self._title)

    def close(self) -> None:
        """Close the window; more than once does no harm."""
        if self._screen is not None:
            self._screen = None
            self._pygame.display.quit()
