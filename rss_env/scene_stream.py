"""The scene that each group of sub-environments sees: a pure function of (seed, episode).

So the whole state of a stream of scenes is a few integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
import torch

from rss_env import counter_random
from rss_env.arrays import Array, as_tensor
from rss_env.augmentation import Augmentation, Variation
from rss_env.errors import InputError
from rss_env.host_inputs import HostInputs
from rss_env.streamed_images import StreamedImages


@dataclass(slots=True)
class SceneBatch(Generic[Array]):
    """Scenes that a batch of G groups sees.

    Attributes:
        index: (G,) int64, which samples; a tensor, or an array on the CPU.
        mirrored: (G,) bool, which of them are flipped horizontally; likewise.
        variation: What else is done to them, if anything.
        pixels: (G, H, W, 3) uint8, the samples' images as they are, where these stay on the host;
            None where all images are on the device.
        truth: (G, H, W) uint8, likewise the label maps.
    """

    index: Array
    mirrored: Array
    variation: Variation | None = None
    pixels: torch.Tensor | None = None
    truth: torch.Tensor | None = None

    @staticmethod
    def unvaried(index: torch.Tensor) -> SceneBatch[torch.Tensor]:
        """The samples with numbers (G,) int64, as they are in the data set."""
        return SceneBatch(index, torch.zeros_like(index, dtype=torch.bool))


class SceneStream:
    """Scenes that G groups see: uniform with replacement, from (seed, episode); or in order.

    Attributes:
        seeds: (G,) int64, non-negative.
        episodes: (G,) int64, -1 before the first episode.
        has_begun: Whether every group is in an episode, or has been.
    """

    def __init__(
        self,
        num_groups: int,
        num_scenes: int,
        augmentation: Augmentation | None = None,
        *,
        in_order: bool = False,
        source: StreamedImages | None = None,
    ):
        """Start with seeds from the operating system's entropy.

        Args:
            num_groups: G.
            num_scenes: How many scenes there are to draw from.
            augmentation: How they are varied; not at all if None.
            in_order: Whether each group goes round a share of the scenes of its own, from one to
                the next, instead: `shares_of_groups`.
            source: Of images that stay on the host, and are told with their numbers.
        """
        entropy = np.random.SeedSequence().generate_state(num_groups, np.uint64)
        self.seeds = (entropy >> np.uint64(1)).astype(np.int64)
        self.episodes = np.full(num_groups, -1, np.int64)
        self.has_begun = False
        self._num_scenes, self._augmentation = num_scenes, augmentation or Augmentation()
        self._source = source
        self._none_mirrored = np.zeros(num_groups, np.bool_)  # read by all batches, written by none
        self._shares = shares_of_groups(num_groups, num_scenes) if in_order else None
        self._chosen = np.full(num_groups, -1, np.int64)  # -1: not chosen
        self._some_chosen = False

    def seed(self, group: int, seed: int) -> None:
        """Start one group's stream anew; its next episode is number 0."""
        self.seeds[group], self.episodes[group] = seed, -1
        self.has_begun = False

    def advance(self, groups: npt.NDArray[np.bool_]) -> None:
        """Move the groups where the (G,) mask is true to their next episode."""
        self.episodes += groups
        if self._some_chosen:
            self._choose(np.where(groups, -1, self._chosen))
        if not self.has_begun:
            self.has_begun = bool((self.episodes >= 0).all())

    def choose(self, groups: npt.NDArray[np.bool_], index: npt.NDArray[np.int64]) -> None:
        """Show scenes with numbers `index` (G,) in this episode of the groups in a (G,) mask."""
        self._choose(np.where(groups, index, self._chosen))

    def _choose(self, chosen: npt.NDArray[np.int64]) -> None:
        self._chosen, self._some_chosen = chosen, bool((chosen >= 0).any())

    def batch(
        self, device: torch.device | str = "cpu", groups: npt.NDArray[np.int64] | None = None
    ) -> SceneBatch[torch.Tensor]:
        """The scenes of the current episodes, as tensors; of all groups, or of some (g,)."""
        return self.tell(HostInputs(device), groups)

    def tell(
        self, inputs: HostInputs, groups: npt.NDArray[np.int64] | None = None
    ) -> SceneBatch[torch.Tensor]:
        """The same, as what a host tells its device."""
        told = inputs.send(lambda: self._draw_with_samples(groups))
        index, mirrored, *changes, pixels, truth = told
        variation = self._augmentation.variation_of(changes)
        return SceneBatch(index, mirrored, variation, pixels, truth)

    def _draw_with_samples(self, groups: npt.NDArray[np.int64] | None) -> tuple[Any, ...]:
        """What `_draw` gives, and the samples themselves where they stay on the host."""
        drawn = self._draw(groups)
        if self._source is None:
            return *drawn, None, None
        samples = self._source.take(drawn[0])
        self._source.expect(self.numbers(groups, ahead=1))
        return *drawn, *samples

    def numbers(
        self, groups: npt.NDArray[np.int64] | None = None, ahead: int = 0
    ) -> npt.NDArray[np.int64]:
        """Numbers of the samples of the current episodes, or some `ahead`.

        Of all groups, (G,), or of some, (g,).
        """
        seeds, episodes = _of(groups, self.seeds), _of(groups, self.episodes)
        if ahead:
            episodes = episodes + ahead
        if self._shares is not None:
            first, count = (_of(groups, part) for part in self._shares)
            index = first + np.maximum(episodes, 0) % count
        else:
            index = counter_random.integers_of_episodes(
                self._num_scenes, seeds, episodes, counter_random.SCENE_STREAM
            )
        if ahead or not self._some_chosen:
            return index
        chosen = _of(groups, self._chosen)
        return np.where(chosen >= 0, chosen, index)

    def batch_of_arrays(
        self, groups: npt.NDArray[np.int64] | None = None
    ) -> SceneBatch[np.ndarray]:
        """The scenes of the current episodes, as arrays, likewise; on the CPU."""
        index, mirrored, *changes = self._draw(groups)
        if not self._augmentation.changes_images:  # sooner told: a single environment would notice
            return SceneBatch(index, mirrored)
        varied = [None if change is None else as_tensor(change) for change in changes]
        return SceneBatch(index, mirrored, self._augmentation.variation_of(varied))

    def _draw(self, groups: npt.NDArray[np.int64] | None = None) -> tuple[Any, ...]:
        """Index and mirrored, and the variation's window, colours and cut, as far as there are."""
        index = self.numbers(groups)
        if not self._augmentation.changes_images:
            return index, _of(groups, self._none_mirrored), None, None, None
        keys = _of(groups, self.seeds), np.maximum(_of(groups, self.episodes), 0)
        return index, *self._augmentation.draw(*keys, index)

    def get_state(self) -> dict[str, list[int]]:
        """The whole state, as lists of integers."""
        state = {"seeds": self.seeds.tolist(), "episodes": self.episodes.tolist()}
        return state | ({"chosen": self._chosen.tolist()} if self._some_chosen else {})

    def set_state(self, state: dict[str, list[int]]) -> None:
        """Continue from a state of `get_state`.

        Raises:
            InputError: If it is no state, or one of another number of groups.
        """
        seeds, episodes = (
            self.parse_state(state, "seeds", 0),
            self.parse_state(state, "episodes", -1),
        )
        chosen = np.full(len(seeds), -1, np.int64)
        if "chosen" in state:
            chosen = self.parse_state(state, "chosen", -1)
            if (chosen >= self._num_scenes).any():
                raise InputError(
                    f"state['chosen'] must be below {self._num_scenes}, the number of images, got "
                    f"{chosen.max()}"
                )
        self.seeds, self.episodes = seeds, episodes
        self._choose(chosen)
        self.has_begun = bool((self.episodes >= 0).all())

    def parse_state(self, state: Any, key: str, least: int) -> npt.NDArray[np.int64]:
        """One entry of a state: a whole number (int64) for each group, (G,).

        Args:
            state: What should be a state.
            key: Name of the entry.
            least: The least value that is legal.

        Raises:
            InputError: If there is no such entry, or it is not that.
        """
        values = state.get(key) if isinstance(state, dict) else None
        if not isinstance(values, list) or not all(
            type(value) is int and least <= value < 2**63 for value in values
        ):
            raise InputError(
                f"state[{key!r}] must be a list of integers of at least {least}, got {values!r}"
            )
        if len(values) != len(self.seeds):
            raise InputError(f"state is for {len(values)} groups, this has {len(self.seeds)}")
        return np.array(values, np.int64)


def _of(groups: npt.NDArray[np.int64] | None, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values (G,) of some groups (g,), or those of all as they are."""
    return values if groups is None else values[groups]


def shares_of_groups(
    num_groups: int, num_scenes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Share scenes among G groups, so that each is one group's and group g has (M + g) // G.

    These are the numbers of episodes that Stable-Baselines3's `evaluate_policy` takes of each of G
    environments for M episodes. A group without a scene of its own looks at another's.

    Returns:
        Number of the first scene, and how many there are, of each group: (G,) int64.
    """
    counts = (num_scenes + np.arange(num_groups)) // num_groups
    first = np.cumsum(counts) - counts
    return np.minimum(first, num_scenes - 1), np.maximum(counts, 1)


def parse_rows(
    state: Any, key: str, groups: int, length: int, is_legal: Callable[[Any], Any]
) -> npt.NDArray[Any]:
    """One entry of a state: a list of so many numbers for each of G groups, (G, length).

    Args:
        state: What should be a state.
        key: Name of the entry.
        groups: G.
        length: Of each list.
        is_legal: Tells whether a number is.

    Raises:
        InputError: If there is no such entry, or it is not that.
    """
    rows = state.get(key) if isinstance(state, dict) else None
    if (
        not isinstance(rows, list)
        or len(rows) != groups
        or not all(isinstance(row, list) and len(row) == length for row in rows)
        or not all(type(value) in (int, float) and is_legal(value) for row in rows for value in row)
    ):
        raise InputError(
            f"state[{key!r}] must be a list of {length} legal numbers for each of {groups} groups, "
            f"got {rows!r:.60}"
        )
    return np.array(rows)
