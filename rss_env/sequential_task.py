"""Episodes of several steps over one image: what `Progressive` and `Refine` have in common.

There is one map of each image, which every step changes. It is scored as a whole, and what a step
earns is the gain in score, so that an episode's rewards add up to what its last map has gained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

from rss_env.action_maps import ActionMapGeometry
from rss_env.arrays import Array, alike, as_tensor, to_device
from rss_env.config import EnvironmentConfig
from rss_env.drawn_maps import DrawnMaps
from rss_env.errors import InputError
from rss_env.feedback import AnyScorer
from rss_env.judge import Judge
from rss_env.labels import VOID
from rss_env.outcome import Drawing, Outcome
from rss_env.scene_stream import parse_rows
from rss_env.segmentation_task import SegmentationTask
from rss_env.sequential_config import SequentialConfig


class SequentialTask(SegmentationTask):
    """One map of each image, changed and scored step by step.

    Observations are dicts: `image` (H, W, 3) uint8; `map` (H, W, 1) uint8, the class of each pixel
    so far, 255 where nothing is drawn; `step` (1,) int64, how many of the episode lie behind.

    Vector environments of arrays give images and maps read-only; `image.copy()` may be written to.
    So what does not change is not copied in every step: the observations of an episode share its
    images, and those of all episodes the map that nothing is drawn on. They are no memory of the
    data set. In tensors, which cannot be read-only, all is new in each observation.

    A group's episodes begin and end together. A map that is finished before those of the rest of
    its group waits for them: it stays as it is, earns nothing, and its actions are ignored.

    Attributes:
        max_steps: Most steps of an episode.
        shows_scores: Whether each step tells the score of its map, and pays its gain.
    """

    takes_one_step = False
    max_steps: int
    _starts_with_a_map = False
    _shares_memory = False  # Gymnasium's checker of single environments wants all anew

    # --- what differs between sequences ---

    def _action_space(self, config: Any) -> spaces.Space[Any]:
        """The space of one action; sets `max_steps`, and whatever else depends on the arguments."""
        raise NotImplementedError

    def _first_maps(self, groups: npt.NDArray[np.int64]) -> DrawnMaps:
        """What episodes of some groups begin with, g * K of them."""
        raise NotImplementedError

    def _parse(self, actions: Any) -> list[Drawing]:
        """What actions make of the maps of groups that are not done; changes nothing."""
        raise NotImplementedError

    # --- set-up ---

    def _lay_out(self, config: EnvironmentConfig, scorer: AnyScorer | None) -> None:
        assert isinstance(config, SequentialConfig)
        geometry, self.shows_scores = self.geometry, config.show_scores
        of_scales = [
            ActionMapGeometry(geometry.image_size, (scale,), geometry.num_classes)
            for scale in geometry.scales
        ]
        self._judges = [
            Judge(self._scenes, of_scale, config, self.feedback, scorer) for of_scale in of_scales
        ]
        action_space = self._action_space(config)
        height, width = geometry.image_size
        observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (height, width, 3), np.uint8),
                "map": spaces.Box(0, VOID, (height, width, 1), np.uint8),
                "step": spaces.Box(0, self.max_steps, (1,), np.int64),
            }
        )
        self._spaces = observation_space, action_space
        number, device = self._num_envs, self.device
        self._every_group = np.arange(number // self.group_size)
        self._steps = np.zeros(len(self._every_group), np.int64)
        self._stopped = np.zeros(number, np.bool_)
        self._scores = torch.zeros(number, dtype=torch.float32, device=device)
        blank = torch.full((number, height, width), VOID, dtype=torch.uint8, device=device)
        self._maps = self._blank = DrawnMaps.of_pixels(blank)

    @property
    def info_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `SegmentationTask.info_shapes`: `score`, that of the map so far."""
        return {"score": ()}

    # --- steps ---

    def _play(self, parsed: list[Drawing]) -> Outcome:
        """Judge what was drawn, and pay what it has gained.

        Raises:
            BudgetSpentError: If it asks for more scores than are left; nothing has changed then.
        """
        playing, size = ~self._done, self.group_size
        stopped, steps = self._stopped.copy(), self._steps + playing
        for drawing in parsed:
            stopped |= drawing.stops
        ends = playing & (stopped.reshape(-1, size).all(1) | (steps == self.max_steps))
        over = ends.repeat(size)
        before, scores = self._judge_drawings(parsed, playing if self.shows_scores else ends)
        if self._numpy:  # differences of float32 are exact in float64, which arrays have
            rewards = scores.numpy().astype(np.float64) - before.numpy()
        else:
            rewards = scores - before
        told = playing.repeat(size) if self.shows_scores else over
        seen = alike(self._batch.index, scores)
        seen = seen * (told if isinstance(seen, np.ndarray) else to_device(told, self.device))
        maps = self._maps
        for drawing in parsed:
            maps = self._redrawn(maps, drawing.groups, self._drawn(drawing.maps, drawing.scale))
        self._maps, self._scores, self._steps, self._stopped = maps, scores, steps, stopped
        return Outcome(
            rewards=alike(self._batch.index, rewards),
            terminated=over & stopped,
            truncated=over & ~stopped,
            told=told,
            infos={"score": seen},
            shown=(self._batch, maps) if parsed else None,
        )

    def _judge_drawings(
        self, drawings: list[Drawing], judged: npt.NDArray[np.bool_]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is seen of the scores (N,) before and after a step, of the groups in a mask (G,)."""
        # Of each drawing, which of its groups are judged.
        pairs = [(drawing, self._where(judged[drawing.groups])) for drawing in drawings]
        first = np.empty(0, np.int64)
        if self._starts_with_a_map:
            first = self._where(~self._done & (self._steps == 0))
        asked = sum(self._count_touched(drawing, places) for drawing, places in pairs)
        self._ask(asked + len(first) * self.group_size)
        scores = self._scores
        if len(first):  # in the first step, which can be refused, unlike a reset in a step
            cells = self._take(self._maps.cells_of(self.geometry.scales[0]), first)
            # Noise of a number that no step has: that of the last is one less.
            scores = self._put(scores, first, self._judge_groups(0, first, cells, self.max_steps))
        before = scores
        for drawing, places in pairs:
            if not len(places):
                continue
            groups, maps = drawing.groups[places], self._take(drawing.maps, places)
            found = self._judge_groups(drawing.scale, groups, maps, self._steps[groups])
            scores = self._put(scores, groups, found)
            if self.shows_scores and drawing.kept is not None:
                kept = to_device(drawing.kept, scores.device)
                scores = torch.where(kept, before, scores)
        return before, scores

    def _count_touched(self, drawing: Drawing, places: npt.NDArray[np.int64]) -> int:
        """How many maps a step has changed, of some of a drawing's groups."""
        count = len(places) * self.group_size
        if drawing.kept is None:
            return count
        return count - int(np.count_nonzero(drawing.kept[self._rows(drawing.groups[places])]))

    def _judge_groups(
        self, scale: int, groups: npt.NDArray[np.int64], maps: torch.Tensor, steps: Any
    ) -> torch.Tensor:
        """What is seen of the scores of some groups' maps (g * K, cells) of a scale: (g * K,)."""
        batch = self._batch if len(groups) == len(self._done) else self._scenes_of(groups)
        actions = alike(batch.index, maps.reshape(len(groups), self.group_size, -1))
        keys = self._stream.seeds[groups], self._stream.episodes[groups]

        def noise_states(shape: tuple[int, int]) -> torch.Tensor:
            return to_device(self.feedback.noise_states(*keys, shape, steps), self.device)

        return as_tensor(self._judges[scale](actions, batch, noise_states).rewards)

    # --- maps of some groups among those of all ---

    def _where(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Places of a mask (g,) of groups that are true; not to be written to."""
        if np.count_nonzero(mask) == len(mask):  # as mostly
            return self._every_group[: len(mask)]
        return np.flatnonzero(mask)

    def _rows(self, groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers of the sub-environments of some groups."""
        return (groups[:, None] * self.group_size + np.arange(self.group_size)).ravel()

    def _take(self, values: Array, groups: npt.NDArray[np.int64]) -> Array:
        """The rows (g * K, ...) of some groups among those of more; a view if of all of them."""
        if len(groups) * self.group_size == len(values):
            return values
        rows = self._rows(groups)
        if isinstance(values, np.ndarray):
            return values[rows]
        return values[to_device(rows, values.device)]

    def _put(
        self, values: torch.Tensor, groups: npt.NDArray[np.int64], new: torch.Tensor
    ) -> torch.Tensor:
        """Values (N, ...) with new ones (g * K, ...) for some groups; nothing is overwritten."""
        if len(groups) == len(self._done):
            return new
        return values.index_copy(0, to_device(self._rows(groups), values.device), new)

    def _redrawn(self, maps: DrawnMaps, groups: npt.NDArray[np.int64], new: DrawnMaps) -> DrawnMaps:
        """Maps (N, ...) with new ones (g * K, ...) for some groups, likewise."""
        if len(groups) == len(self._done):
            return new
        return maps.with_rows(to_device(self._rows(groups), self.device), new)

    def _drawn(self, cells: torch.Tensor, scale: int) -> DrawnMaps:
        """Maps of cells (B, P) of a scale, given by its index."""
        return DrawnMaps(cells, self.geometry.grids[scale][1], self.geometry.scales[scale])

    # --- episodes ---

    def _look_up(self) -> None:
        super()._look_up()
        self._images: np.ndarray | None = None  # of the current scenes, once they are observed

    def _begin_episodes(self, groups: np.ndarray, index: np.ndarray | None = None) -> None:
        super()._begin_episodes(groups, index)
        begun = self._where(groups)
        maps = self._first_maps(begun)
        # What nothing has drawn scores 0; a first map is judged in the first step.
        scores = torch.zeros(len(maps.cells), dtype=torch.float32, device=self.device)
        self._steps = np.where(groups, 0, self._steps)
        self._stopped = self._stopped & ~groups.repeat(self.group_size)
        self._maps = self._redrawn(self._maps, begun, maps)
        self._scores = self._put(self._scores, begun, scores)
        self._shown = (self._batch, self._maps)

    def _observe(self) -> Any:
        """The current observations; see the class for what they share."""
        shares = self._shares_memory and self._numpy
        if shares:
            images = super()._observe() if self._images is None else self._images
            self._images, pixels = images, self._maps.pixels()
        else:
            images, pixels = super()._observe(), self._maps.painted()
        maps = self._export(alike(self._batch.index, pixels[..., None]))
        return {
            "image": _read_only(images) if shares else images,
            "map": _read_only(maps) if shares else maps,
            "step": self._export(self._steps.repeat(self.group_size)[:, None]),
        }

    def _painted(self, shown: DrawnMaps) -> torch.Tensor:
        return shown.painted()

    def get_state(self) -> dict[str, list[Any]]:
        """Return all that decides what comes next, JSON-able: a list with an entry for each group.

        Beside integers there are `stopped` (K integers), `scores` (K floats) and `maps`
        (K * H * W integers).
        """
        parts = {
            "stopped": self._stopped.astype(int),
            "scores": self._scores.cpu().numpy(),
            "maps": self._maps.painted().cpu().numpy(),
        }
        rows = {name: part.reshape(len(self._done), -1).tolist() for name, part in parts.items()}
        return {**super().get_state(), "steps": self._steps.tolist(), **rows}

    def set_state(self, state: dict[str, list[Any]]) -> None:
        """See `SegmentationTask.set_state`."""
        self._require_open()
        steps = self._stream.parse_state(state, "steps", 0)
        if (steps > self.max_steps).any():
            raise InputError(
                f"state['steps'] must be at most {self.max_steps}, got {steps.tolist()}"
            )
        size, (height, width) = self.group_size, self.geometry.image_size
        legal = {*range(self.geometry.num_classes), VOID}
        stopped = parse_rows(state, "stopped", len(steps), size, {0, 1}.__contains__)
        scores = parse_rows(state, "scores", len(steps), size, np.isfinite)
        maps = parse_rows(state, "maps", len(steps), size * height * width, legal.__contains__)
        super().set_state(state)
        device = self.device
        self._steps, self._stopped = steps, stopped.astype(np.bool_).ravel()
        self._scores = to_device(scores.astype(np.float32).ravel(), device)
        pixels = to_device(maps.astype(np.uint8).reshape(-1, height, width), device)
        self._maps = DrawnMaps.of_pixels(pixels)


def _read_only(values: np.ndarray) -> np.ndarray:
    """A view of an array that can't be written to, nor its shape be set for others."""
    values.flags.writeable = False
    return values.view()
