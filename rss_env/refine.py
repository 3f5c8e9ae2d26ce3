"""`RSS/<Dataset>-Refine-v0`: a map that is there from the start, edited window by window."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from rss_env.action_maps import ActionMapGeometry
from rss_env.arguments import load_function
from rss_env.arrays import as_tensor, assert_on_device, to_device
from rss_env.class_indices import check_integers, narrow
from rss_env.drawn_maps import DrawnMaps
from rss_env.errors import ActionError, InputError
from rss_env.outcome import Drawing
from rss_env.sequential_config import MAJORITY, RefineConfig
from rss_env.sequential_task import SequentialTask
from rss_env.single_env import RSSEnv
from rss_env.vector_env import RSSVectorEnv

_LARGEST_WINDOW = 8  # cells of a side, if none is asked for


class RefineTask(SequentialTask):
    """One window a step, of the map of the finest scale.

    An action is a place, and a class for each of the window's cells, row by row. Places 0 to P - 1
    are the windows of the map, row by row; place P stops: the map is final, and the episode
    terminates. Class C keeps a cell as it is. After `max_steps` steps an episode is truncated.

    An episode's rewards add up to what its last map scores above its first one.

    Attributes:
        window: Side of the windows, in cells.
        num_windows: P.
    """

    config_type = RefineConfig
    _starts_with_a_map = True

    def _restricted(self, geometry: ActionMapGeometry) -> ActionMapGeometry:
        return ActionMapGeometry(geometry.image_size, geometry.scales[-1:], geometry.num_classes)

    def _action_space(self, config: Any) -> spaces.MultiDiscrete:
        rows, columns = self.geometry.grids[0]
        valid = _sides(rows, columns)
        if config.window is not None and config.window not in valid:
            raise InputError(
                f"window must divide the grid of {rows}x{columns} cells; valid: {valid}, got "
                f"{config.window}"
            )
        side = config.window or self.largest_window((rows, columns))
        number = np.arange(rows * columns).reshape(rows // side, side, columns // side, side)
        cells = number.transpose(0, 2, 1, 3).reshape(-1, side**2)  # of each window
        self.window, self.num_windows = side, len(cells)
        self.max_steps = self.num_windows if config.max_steps is None else int(config.max_steps)
        # To stop is to edit nothing of the first window.
        self._window_cells = to_device(np.concatenate([cells, cells[:1]]), self.device)
        self._start = config.start
        if isinstance(config.start, str) and config.start != MAJORITY:
            self._start = load_function("start", config.start)
        self._majority = 0
        if self._start == MAJORITY and self.dataset.has_labels:
            self._majority = int(self._scenes.class_frequencies().argmax())
        of_cells = np.full(side**2, self.geometry.num_classes + 1, np.int64)
        return spaces.MultiDiscrete(np.concatenate([[self.num_windows + 1], of_cells]))

    @staticmethod
    def largest_window(grid: tuple[int, int]) -> int:
        """Side of the windows of a grid (rows, columns), if none is asked for."""
        return max(side for side in _sides(*grid) if side <= _LARGEST_WINDOW)

    @property
    def stopped(self) -> npt.NDArray[np.bool_]:
        """Whose map is final, and waits for those of its group: (N,) bool, a copy."""
        return self._stopped.copy()

    def _parse(self, actions: Any) -> list[Drawing]:
        shape = (self._num_envs, 1 + self.window**2)
        given = check_integers(actions, shape, "actions", None if self._on_cpu else self.device)
        places, keep = as_tensor(given[:, 0]).long(), self.geometry.num_classes
        self._check_places(places)
        check = self._validate_actions
        classes = narrow(given[:, 1:], keep + 1, "actions[:, 1:]", check_range=check)
        groups = self._where(~self._done)
        if not len(groups):
            return []
        # Who has stopped decides which image comes next: the host has to know.
        stops = (places == self.num_windows).cpu().numpy() & ~np.repeat(self._done, self.group_size)
        kept = self._stopped | stops
        maps = self._maps.cells_of(self.geometry.scales[0])
        cells = self._window_cells[places]
        classes, old = as_tensor(classes), maps.gather(1, cells)
        untouched = (classes == keep) | to_device(kept, self.device)[:, None]
        maps = maps.scatter(1, cells, torch.where(untouched, old, classes))
        return [Drawing(0, groups, self._take(maps, groups), stops, kept)]

    def _check_places(self, places: torch.Tensor) -> None:
        legal, last = (places >= 0) & (places <= self.num_windows), self.num_windows - 1
        message = f"actions[:, 0] must hold windows 0..{last}, or {last + 1} to stop"
        if not self._on_cpu:
            assert_on_device(legal.all(), message)
        elif not legal.all():
            wrong = int(legal.int().argmin())
            raise ActionError(f"{message}, got {int(places[wrong])} at index {wrong}")

    def _first_maps(self, groups: npt.NDArray[np.int64]) -> DrawnMaps:
        if self._start == MAJORITY:
            shape = (len(groups) * self.group_size, self.geometry.cells[0])
            of_majority = torch.full(shape, self._majority, dtype=torch.uint8, device=self.device)
            return self._drawn(of_majority, 0)
        images = self._export(self._scenes.observe(self._scenes_of(groups)))
        maps = self._start(images)  # pyright: ignore[reportCallIssue]
        shape, device = (len(groups), *self.geometry.grids[0]), None
        if not self._on_cpu:
            device = self.device
        maps = check_integers(maps, shape, "what start returns", device)
        maps = narrow(maps, self.geometry.num_classes, "what start returns")
        return self._drawn(as_tensor(maps).flatten(1).repeat_interleave(self.group_size, 0), 0)


class RefineVectorEnv(RefineTask, RSSVectorEnv):
    """N maps at a time, edited window by window."""

    _shares_memory = True


class RefineEnv(RefineTask, RSSEnv):
    """One map, edited window by window."""


def _sides(rows: int, columns: int) -> list[int]:
    """Sides of windows that divide a grid."""
    common = math.gcd(rows, columns)
    return [side for side in range(1, common + 1) if common % side == 0]
