"""Experts of expert iteration: of each image, the map that scores so far make the best.

| expert | the best map is | serves |
|---|---|---|
| `BestMapExpert` | that of the highest score | many scores |
| `RegionExpert` | what all scores of the image together say, on what the start believed | few |

The first takes up what the network has learned from other images since, map by map, but of a few
noisy scores the highest says little. The second weighs them all, and stays close to the start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch

from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.losses.region_effects import RegionEffects
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.replay.best_maps import BestMaps
from rss_agents.replay.image_memory import ImageKeys
from rss_agents.replay.region_memory import RegionMemory
from rss_env.labels import VOID
from rss_env.vector_env import RSSVectorEnv

PolicyOf = Callable[[SegmentationNetwork, ImageKeys], torch.Tensor]


class Expert(ABC):
    """What is known of the best map of each image, and what of it is to be scored next."""

    @property
    @abstractmethod
    def memory(self) -> BestMaps | RegionMemory:
        """What is remembered of the images."""

    def begin(self, network: SegmentationNetwork, policy_of: PolicyOf) -> None:
        """Note what a network believes that begins to learn.

        Args:
            network: Which is copied.
            policy_of: Probabilities (B, C, cells) of a network, of images as they are remembered.
        """
        return

    @abstractmethod
    def propose(self, keys: ImageKeys, maps: torch.Tensor) -> None:
        """Write maps that are likely to score well over some of the maps (B, K, cells) uint8."""

    @abstractmethod
    def learn(
        self,
        keys: ImageKeys,
        maps: torch.Tensor,
        scores: torch.Tensor,
        drawn: int,
        *,
        changes: bool,
    ) -> torch.Tensor:
        """Take in scores (B, K) of maps (B, K, cells), of which so many are no answers.

        Returns:
            The best maps (B, cells) uint8, as `best` gives them.
        """

    @abstractmethod
    def best(self, keys: ImageKeys, *, changes: bool) -> torch.Tensor:
        """The best maps (B, cells) uint8, VOID where none is known.

        With `changes`, cells are VOID that are as they were answered.
        """

    @property
    def explained(self) -> torch.Tensor | None:
        """Share of the differences of scores that it explains, a scalar, 0..1; None: not known."""
        return None

    def numbers(self) -> dict[str, torch.Tensor]:
        """What is to be logged, scalars."""
        explained = self.explained
        return {} if explained is None else {"explained": explained}

    def get_state(self) -> dict[str, Any]:
        """All that is known beside the memory."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`; begun, if it was."""
        return


class BestMapExpert(Expert):
    """The map of the highest score; where only orders are told, of the last group."""

    def __init__(self, env: RSSVectorEnv):
        """Remember nothing yet of the images of an environment."""
        self._maps = BestMaps(env.geometry, env.num_shown, device=env.device)
        self._compares_all = env.feedback.kind != "ranking"  # scores of several groups

    @property
    def memory(self) -> BestMaps:
        """See `Expert.memory`."""
        return self._maps

    def propose(self, keys: ImageKeys, maps: torch.Tensor) -> None:
        """See `Expert.propose`; the best map, where it has to be compared again."""
        if not self._compares_all:
            best, known = self._maps.recall(keys.keys)
            maps[:, 0] = torch.where(known[:, None], best, maps[:, 0])

    def learn(
        self,
        keys: ImageKeys,
        maps: torch.Tensor,
        scores: torch.Tensor,
        drawn: int,
        *,
        changes: bool,
    ) -> torch.Tensor:
        """See `Expert.learn`."""
        answers = maps[:, drawn] if drawn < maps.shape[1] else None  # the incumbent's
        if not self._compares_all and not drawn:  # answers alone, and not the best map so far
            maps, scores = maps[:, :0], scores[:, :0]
        anew = not self._compares_all
        best = self._maps.add(keys.keys, maps, scores, answers=answers, anew=anew)
        return self.best(keys, changes=True) if changes else best

    def best(self, keys: ImageKeys, *, changes: bool) -> torch.Tensor:
        """See `Expert.best`."""
        return self._maps.recall(keys.keys, changes=changes)[0]


class RegionExpert(Expert):
    """The likeliest classes under what the start believed and what scores say of regions."""

    def __init__(self, env: RSSVectorEnv, config: RSSConfig):
        """Remember nothing yet of the images of an environment."""
        by_group = env.feedback.kind == "ranking"  # orders compare the maps of one group
        self._config, self._cells = config.effects, env.geometry.num_cells
        self._effects = RegionEffects(
            env.geometry, config.effects, by_group=by_group, device=env.device
        )
        self._regions = RegionMemory(
            env.geometry.image_size,
            env.num_shown,
            env.group_size,
            max(1, config.replay // env.group_size),
            self._effects.num_shares,
            env.num_envs // env.group_size,
            device=env.device,
        )
        self._policy_of: PolicyOf | None = None
        self._start: SegmentationNetwork | None = None

    @property
    def memory(self) -> RegionMemory:
        """See `Expert.memory`."""
        return self._regions

    def begin(self, network: SegmentationNetwork, policy_of: PolicyOf) -> None:
        """See `Expert.begin`."""
        self._start, self._policy_of = network.frozen_copy(), policy_of

    def propose(self, keys: ImageKeys, maps: torch.Tensor) -> None:
        """See `Expert.propose`; of those beside two answers, half at most."""
        weights = self._config.proposed[: max((maps.shape[1] - 2) // 2, 0)]
        if weights:
            beliefs, effects, known = self._known_of(keys)
            found = torch.stack([(beliefs + weight * effects).argmax(1) for weight in weights], 1)
            drawn = maps[:, : len(weights)]
            drawn.copy_(torch.where(known[:, None, None], found.to(maps.dtype), drawn))

    def learn(
        self,
        keys: ImageKeys,
        maps: torch.Tensor,
        scores: torch.Tensor,
        drawn: int,
        *,
        changes: bool,
    ) -> torch.Tensor:
        """See `Expert.learn`."""
        counted = (torch.arange(maps.shape[1], device=maps.device) < drawn).expand(scores.shape)
        self._effects.observe(
            self._regions.exchange(keys.keys, self._effects.shares(maps), scores, counted)
        )
        return self.best(keys, changes=changes)

    def best(self, keys: ImageKeys, *, changes: bool) -> torch.Tensor:
        """See `Expert.best`; VOID, as long as nothing has begun to learn."""
        if self._start is None:
            shape = len(keys.keys), self._cells
            return torch.full(shape, VOID, dtype=torch.uint8, device=keys.keys.device)
        beliefs, effects, known = self._known_of(keys)
        best = (beliefs + self._config.weight * effects).argmax(1)
        told = known[:, None]
        if changes:
            told = told & (best != beliefs.argmax(1))
        return torch.where(told, best.to(torch.uint8), VOID)

    @torch.no_grad()
    def _known_of(self, keys: ImageKeys) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The start's log-probabilities (B, C, cells), effects, and (B,) bool, images scored."""
        assert self._start is not None
        assert self._policy_of is not None
        scored = self._regions.recall(keys.keys)
        beliefs = self._policy_of(self._start, keys).clamp(min=1e-8).log()
        return beliefs, self._effects(scored), scored.valid.any(1)

    @property
    def explained(self) -> torch.Tensor:
        """See `Expert.explained`; by what regions add."""
        return self._effects.explained

    def get_state(self) -> dict[str, Any]:
        """See `Expert.get_state`; the effects, and what the start believes."""
        return {
            "start": None if self._start is None else self._start.state_dict(),
            "effects": self._effects.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Expert.set_state`."""
        self._effects.set_state(state["effects"])
        if self._start is not None:
            self._start.load_state_dict(state["start"])
