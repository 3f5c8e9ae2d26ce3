"""`RSS/<Dataset>-Progressive-v0`: a map drawn from coarse to fine, one grid a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rss_env.arrays import as_tensor
from rss_env.class_indices import check_integers, narrow
from rss_env.drawn_maps import DrawnMaps
from rss_env.outcome import Drawing
from rss_env.sequential_config import ProgressiveConfig
from rss_env.sequential_task import SequentialTask
from rss_env.single_env import RSSEnv
from rss_env.vector_env import RSSVectorEnv


class ProgressiveTask(SequentialTask):
    """One grid a step, coarse to fine; each replaces the one before, and the last is the map.

    Step t scores the grid of scale t. Where nothing is drawn no class is right, and the score is 0:
    an episode's rewards add up to the score of its last map.

    The action space is that of the grid with the most cells. An action names a class for each cell
    of the next grid, row by row; what it says beyond those cells is not looked at, and
    `action_masks` leaves one choice there.
    """

    config_type = ProgressiveConfig

    def _action_space(self, config: Any) -> spaces.MultiDiscrete:
        self.max_steps = len(self.geometry.scales)
        cells, classes = max(self.geometry.cells), self.geometry.num_classes
        return spaces.MultiDiscrete(np.full(cells, classes, np.int64))

    def _parse(self, actions: Any) -> list[Drawing]:
        shape = (self._num_envs, max(self.geometry.cells))
        given = check_integers(actions, shape, "actions", None if self._on_cpu else self.device)
        playing, nobody = ~self._done, np.zeros(self._num_envs, np.bool_)
        drawings = []
        for step in np.flatnonzero(np.bincount(self._steps[playing])).tolist():
            at_step = playing & (self._steps == step)
            groups = self._where(at_step)
            values = self._take(given[:, : self.geometry.cells[step]], groups)
            classes = self.geometry.num_classes
            maps = narrow(values, classes, "actions", check_range=self._validate_actions)
            if not self._on_cpu:
                maps = maps.clone()  # there actions may be bytes already, which are the caller's
            is_last = step == self.max_steps - 1
            stops = at_step.repeat(self.group_size) if is_last else nobody
            drawings.append(Drawing(step, groups, as_tensor(maps), stops))
        return drawings

    def _first_maps(self, groups: npt.NDArray[np.int64]) -> DrawnMaps:
        return self._blank.first_rows(len(groups) * self.group_size)

    def _masks(self) -> npt.NDArray[np.bool_]:
        cells, classes = max(self.geometry.cells), self.geometry.num_classes
        counts = np.array([*self.geometry.cells, 0])[self._steps]  # of the next grid; 0 at an end
        masks = np.zeros((len(counts), cells, classes), np.bool_)
        masks[:, :, 0] = True
        masks |= (np.arange(cells) < counts[:, None])[..., None]
        return masks.reshape(len(counts), -1).repeat(self.group_size, 0)


class ProgressiveVectorEnv(ProgressiveTask, RSSVectorEnv):
    """N maps at a time, each drawn from coarse to fine."""

    _shares_memory = True

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """The choices that count in the next step: (N, cells * C), C for each cell in turn.

        Cells beyond the next grid have class 0 alone.
        """
        return self._masks()


class ProgressiveEnv(ProgressiveTask, RSSEnv):
    """One map, drawn from coarse to fine."""

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """The choices that count in the next step: (cells * C,), C for each cell in turn.

        Cells beyond the next grid have class 0 alone.
        """
        return self._masks()[0]
