"""Objectives of the agent: its beliefs, the policy they make, the maps drawn, the loss of scores.

| objective | a network's logits are | learns from |
|---|---|---|
| `MetricRegression` | log-probabilities of labels | scores of a known formula |
| `LinearRegression` | rewards of a cell's classes | any score |
| `PolicyGradient` | log-probabilities of actions | any score |
| `CellCrossEntropy` | log-probabilities of labels | exact or rated rewards of cells |
| `ExpertIteration` (a file of its own) | log-probabilities of labels | any score, from a start |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rss_agents.algorithms.base import Progress
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.algorithms.sampling import sample_maps, sample_varied_maps
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.kernels.sample_classes import mix_with_uniform
from rss_agents.losses.advantage_unit import AdvantageUnit
from rss_agents.losses.advantages import synchronised_deviation
from rss_agents.losses.cross_entropy import coarsened_cross_entropy
from rss_agents.losses.metric_mixture import MetricMixture
from rss_agents.losses.metric_regression import metric_regression
from rss_agents.losses.policy_gradient import cell_advantages, policy_gradient
from rss_agents.losses.regression import relative_regression
from rss_agents.losses.score_models import linear_prediction
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.random_draws import RandomDraws
from rss_agents.replay.best_maps import BestMaps
from rss_agents.replay.image_memory import ImageKeys
from rss_agents.replay.region_memory import RegionMemory
from rss_agents.replay.replay_memory import ReplayMemory
from rss_agents.replay.scored_maps import ScoredMaps
from rss_agents.replay.share_memory import ShareMemory
from rss_env.augmentation import Augmentation
from rss_env.vector_env import RSSVectorEnv


@dataclass(frozen=True)
class Beliefs:
    """The meaning of a batch's logits, differentiable.

    Attributes:
        pixels: (B, C, H/stride, W/stride) at the network's own resolution.
        cells: (B, C, cells) of all scales, of images as they are remembered.
    """

    pixels: torch.Tensor
    cells: torch.Tensor


def remembers_groups(env: RSSVectorEnv, config: RSSConfig) -> bool:
    """Whether scored maps of an image are remembered, to be learned from again."""
    return config.replay > 0 and not env.pixel_level and not env.augmentation.makes_new_images


def recalls_images(env: RSSVectorEnv, config: RSSConfig) -> bool:
    """Whether images may be learned from again without being shown again."""
    return remembers_groups(env, config) and not env.augmentation.varies_images


class Objective(ABC):
    """A way to act and to learn from scores.

    Attributes:
        memory: Of images seen before; None for none.
        temperature: Of the policy's softmax.
        stratified: Whether the maps of a group share out a cell's classes among them.
        needs_likelihoods: Whether it asks how likely remembered maps were when they were drawn.
        num_varied: Maps of a group that differ in whole regions.
        serves_metric: Whether decisions are to serve the metric that is scored.
        compares_answers: Whether some of a group's maps may be answers that are to be compared, and
            not learned from.
        varies_views: Whether images that are learned from are others than those that are scored.
        beside_labels: Whether the network learns from labels of other images as well.
    """

    default_temperature: float = 1.0
    stratified: bool = True
    needs_likelihoods: bool = False
    num_varied: int = 0
    serves_metric: bool = False
    compares_answers: bool = False
    varies_views: bool = False
    beside_labels: bool = False
    memory: ReplayMemory | ShareMemory | BestMaps | RegionMemory | None = None

    def __init__(
        self,
        env: RSSVectorEnv,
        config: RSSConfig,
        stride: int,
        draws: RandomDraws,
        *,
        with_uncounted: bool = False,
    ):
        """Fit an objective to an environment.

        Args:
            env: Scores the maps.
            config: The hyper-parameters.
            stride: Of the network's logits.
            draws: Random numbers for a loss.
            with_uncounted: Whether some maps are scored that are not learned from.
        """
        self.env, self.config, self.stride, self.draws = env, config, stride, draws
        self.geometry, temperature = env.geometry, config.temperature
        self.temperature = self.default_temperature if temperature is None else temperature
        self.memory = self._make_memory(with_uncounted=with_uncounted)

    def _make_memory(
        self, *, with_uncounted: bool
    ) -> ReplayMemory | ShareMemory | BestMaps | RegionMemory | None:
        """Of scored maps, if any are to be remembered and images come again."""
        env, config = self.env, self.config
        if not remembers_groups(env, config):
            return None
        return ReplayMemory(
            env.geometry,
            env.num_shown,
            env.group_size,
            max(1, config.replay // env.group_size),
            batch_size=env.num_envs // env.group_size,
            with_likelihoods=self.needs_likelihoods,
            with_uncounted=with_uncounted,
            device=env.device,
        )

    def prepare(self, network: SegmentationNetwork, batches: int | None) -> None:
        """Make ready to teach a network.

        Args:
            network: What learns.
            batches: How many batches are scored; None: one with each update.
        """
        return

    @property
    def augmentation(self) -> Augmentation:
        """How images vary that are learned from; not those that are scored, if they differ."""
        return self.env.augmentation

    @property
    def learns(self) -> bool:
        """Whether the next loss is to be learned from; scores may serve another end first."""
        return True

    @property
    def asks_at_once(self) -> bool:
        """Whether the next update is to ask for scores, whenever the plan would have asked."""
        return False

    @property
    def compared_every(self) -> int:
        """Batches that are scored: one of so many has answers among its maps."""
        return 3

    def draw(
        self, policy: torch.Tensor, exploration: float | torch.Tensor, keys: ImageKeys | None
    ) -> torch.Tensor:
        """Draw K maps of each image, those that are varied last.

        Args:
            policy: (B, C, cells), of images as they are remembered.
            exploration: Share of uniformly random classes.
            keys: Of the images, where there is a memory.

        Returns:
            (B, K, cells) uint8.
        """
        geometry, varied = self.geometry, self.num_varied
        parts = []
        if varied < self.env.group_size:
            parts.append(
                sample_maps(
                    policy,
                    self.env.group_size - varied,
                    self.draws,
                    stratified=self.stratified,
                    exploration=exploration,
                )
            )
        if varied:
            explored = geometry.split(mix_with_uniform(policy, exploration))
            of_scales = [
                sample_varied_maps(part, varied, grid, self.draws, self.config.varied_maps)
                for part, grid in zip(explored, geometry.grids, strict=True)
            ]
            parts.append(torch.cat(of_scales, 2))
        return torch.cat(parts, 1)

    def beliefs(self, logits: torch.Tensor, mirrored: torch.Tensor | None) -> Beliefs:
        """Probabilities of the classes of pixels and cells.

        Args:
            logits: (B, C, H/stride, W/stride).
            mirrored: (B,) bool, images to be flipped horizontally first; None for none.
        """
        pixels = self._softmax(logits)
        return Beliefs(pixels, pool_cells(pixels, self.geometry.scales, self.stride, mirrored))

    def policy(self, beliefs: Beliefs) -> torch.Tensor:
        """Probabilities (B, C, cells) of every cell's class, before exploration."""
        return beliefs.cells

    def remember(
        self,
        keys: ImageKeys | None,
        maps: torch.Tensor,
        scores: torch.Tensor,
        policy: torch.Tensor,
        progress: Progress,
        uncounted: int | None = None,
    ) -> Any:
        """Take in what was scored; return it with what is remembered of the same images.

        Args:
            keys: Of the images, where there is a memory.
            maps: (B, K, cells) uint8, of images as they are remembered.
            scores: (B, K, S), or (B, K, cells) rewards of cells, of images as they are seen.
            policy: (B, C, cells) that the maps were drawn from, but for exploration.
            progress: Share of the training done, 0..1.
            uncounted: How many of the last maps of each group are not learned from.
        """
        likelihoods = None
        if self.needs_likelihoods:
            explored = mix_with_uniform(policy, self.config.exploration_at(progress))
            likelihoods = explored.gather(1, maps.long())
        scored = ScoredMaps.new(maps, scores, self.geometry, likelihoods, uncounted)
        if keys is None or not isinstance(self.memory, ReplayMemory):
            return scored
        return self.memory.exchange(keys.keys, scored)

    def recall(self, keys: ImageKeys) -> Any:
        """What is remembered of images, as `remember` would return it with nothing new."""
        assert isinstance(self.memory, ReplayMemory)
        return self.memory.recall(keys.keys)

    def view(
        self, images: torch.Tensor, mirrored: torch.Tensor | None, scored: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None, Any]:
        """Images to be learned from, and what `remember` or `recall` returned, as they see it.

        Args:
            images: (B, H, W, 3) uint8, those that were scored.
            mirrored: (B,) bool, which of them have to be flipped to stand as they are remembered.
            scored: What is remembered of them.
        """
        return images, mirrored, scored

    @abstractmethod
    def loss(self, beliefs: Beliefs, scored: Any, progress: Progress) -> torch.Tensor:
        """The loss, a scalar, of beliefs under what `remember` or `recall` returned."""

    def numbers(self) -> dict[str, torch.Tensor]:
        """What is to be logged beside the scores, scalars; nothing by default."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """All that was learned from scores beside the network."""
        return {"memory": None if self.memory is None else self.memory.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        if self.memory is not None:
            self.memory.set_state(state["memory"])

    def _softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, C, ...) of logits at the policy's temperature."""
        scaled = logits if self.temperature == 1 else logits / self.temperature
        return scaled.softmax(1)

    def _by_scale(self, scored: ScoredMaps) -> Sequence[torch.Tensor]:
        """Scores (B, V, K) of each scale, or rewards (B, V, K, cells of the scale)."""
        scores = scored.scores
        return self.geometry.split(scores) if self.env.pixel_level else scores.unbind(-1)


class MetricRegression(Objective):
    """Regression of scores on what the formula of the metric makes of beliefs about labels."""

    compares_answers = True

    def __init__(self, env: RSSVectorEnv, config: RSSConfig, *arguments: Any, **options: Any):
        """See `Objective`; feedback that hides small differences gets varied maps."""
        super().__init__(env, config, *arguments, **options)
        self.serves_metric = config.metric_decisions
        self.formula: str | MetricMixture = env.formula
        is_known = env.metric is not None or config.score_model == "metric"
        if not is_known and env.feedback.kind != "ranking":
            scales = len(env.geometry.scales)
            self.formula = MetricMixture(scales, config.mixture, env.device)

    @property
    def num_varied(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Half of a group where feedback hides small differences, unless another share is asked."""
        hides_differences = self.env.feedback.kind in ("rating", "noisy")
        if isinstance(self.formula, MetricMixture):
            hides_differences |= self.formula.stars is not None
        varied = 0.5 * hides_differences if self.config.varied is None else self.config.varied
        return round(varied * self.env.group_size)

    def numbers(self) -> dict[str, torch.Tensor]:
        """See `Objective.numbers`; the fitted formula, if it is one."""
        return {} if isinstance(self.formula, str) else self.formula.numbers()

    def get_state(self) -> dict[str, Any]:
        """See `Objective.get_state`; with the mixture, where the formula is one."""
        if isinstance(self.formula, str):
            return super().get_state()
        return super().get_state() | {"mixture": self.formula.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Objective.set_state`."""
        super().set_state(state)
        if isinstance(self.formula, MetricMixture):
            self.formula.set_state(state["mixture"])

    def loss(self, beliefs: Beliefs, scored: ScoredMaps, progress: Progress) -> torch.Tensor:
        """See `losses.metric_regression`."""
        return metric_regression(
            beliefs.cells,
            scored,
            self.geometry,
            self.formula,
            self.env.feedback,
            self.draws,
            self.config.metric_model,
            psd=self.config.psd,
            in_regions=self.num_varied > 0,
        )


class LinearRegression(Objective):
    """Regression of scores on the mean of the cells' logits, which are in units of reward."""

    default_temperature = 0.05

    def beliefs(self, logits: torch.Tensor, mirrored: torch.Tensor | None) -> Beliefs:
        """Rewards of the classes of pixels and cells."""
        return Beliefs(logits, pool_cells(logits, self.geometry.scales, self.stride, mirrored))

    def policy(self, beliefs: Beliefs) -> torch.Tensor:
        """Probabilities (B, C, cells) that favour what is rewarded."""
        return self._softmax(beliefs.cells)

    def loss(self, beliefs: Beliefs, scored: ScoredMaps, progress: Progress) -> torch.Tensor:
        """See `losses.regression`; the mean over scales, each in units of its deviation."""
        geometry, valid, terms = self.geometry, scored.valid, []
        shape = scored.rows.shape[1:]
        maps = scored.own_maps.flatten(1, 2)
        if self.env.pixel_level:
            rewards = beliefs.cells.gather(1, maps.long()).unflatten(1, shape)
            predictions: Any = geometry.split(rewards)
        else:
            means = linear_prediction(beliefs.cells, maps, geometry.offsets)
            predictions = means.unflatten(1, shape).unbind(-1)
        scales = zip(predictions, self._by_scale(scored), geometry.cells, strict=True)
        for predicted, scores, count in scales:
            if self.config.syncan:
                active = valid.view(*valid.shape, *[1] * (scores.ndim - 2)).expand_as(scores)
                deviation = synchronised_deviation(scores - scores.mean(2, keepdim=True), active)
            else:  # a constant of the scale
                deviation = scores.new_full((), 1.0 if self.env.pixel_level else count**-0.5)
            terms.append(
                relative_regression(predicted, scores, deviation, psd=self.config.psd, valid=valid)
            )
        return torch.stack(terms).mean()


class PolicyGradient(Objective):
    """The score-function gradient, with the maps of a group for a baseline."""

    stratified = False  # the baseline, the mean of the other maps, has to be independent
    needs_likelihoods = True

    def __init__(self, env: RSSVectorEnv, config: RSSConfig, *arguments: Any, **options: Any):
        """See `Objective`."""
        super().__init__(env, config, *arguments, **options)
        self._unit = AdvantageUnit(env.device)

    def loss(self, beliefs: Beliefs, scored: ScoredMaps, progress: Progress) -> torch.Tensor:
        """See `losses.policy_gradient`; the mean over scales.

        SyncAN divides rewards and entropy alike, so that the balance between them stays.
        """
        config, split = self.config, self.geometry.split
        policy = mix_with_uniform(beliefs.cells, config.exploration_at(progress))
        entropy = config.entropy_at(progress)
        if isinstance(entropy, torch.Tensor):
            entropy = entropy.to(policy.dtype)
        assert scored.likelihoods is not None
        maps = split(scored.own_maps)
        advantages = [
            cell_advantages(own, scores, psd=config.psd)
            for own, scores in zip(maps, self._by_scale(scored), strict=True)
        ]
        terms = [
            policy_gradient(
                probabilities,
                own,
                gains,
                entropy,
                likelihoods=None if self.memory is None else likelihoods,
                most_importance=config.most_importance,
                valid=scored.valid,
            )
            for probabilities, own, gains, likelihoods in zip(
                split(policy), maps, advantages, split(scored.likelihoods), strict=True
            )
        ]
        loss = torch.stack(terms).mean()
        return loss / self._unit.observe(advantages) if config.syncan else loss

    def get_state(self) -> dict[str, Any]:
        """See `Objective.get_state`; with the unit of advantages."""
        return super().get_state() | {"advantages": self._unit.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """See `Objective.set_state`."""
        super().set_state(state)
        if "advantages" in state:  # states of before have none
            self._unit.set_state(state["advantages"])


class CellCrossEntropy(Objective):
    """Cross-entropy with the shares of classes in cells, as far as rewards have shown them."""

    def _make_memory(self, *, with_uncounted: bool) -> ShareMemory:
        """Of shares."""
        return ShareMemory(self.geometry, self.env.num_shown, device=self.env.device)

    def remember(self, keys: ImageKeys | None, maps: Any, scores: Any, *_: Any, **__: Any) -> Any:
        """Shares (B, C, cells) of the classes, and -1 where they are not known."""
        assert keys is not None
        assert isinstance(self.memory, ShareMemory)
        return self.memory.add(keys.keys, maps, self.geometry.mirror(scores, keys.mirrored))

    def loss(self, beliefs: Beliefs, scored: torch.Tensor, progress: Progress) -> torch.Tensor:
        """See `losses.cross_entropy`; the mean over scales."""
        split = self.geometry.split
        parts = zip(split(beliefs.cells), split(scored), strict=True)
        return torch.stack([coarsened_cross_entropy(*part) for part in parts]).mean()
