"""The agent that learns from scores: our reading of RSS, with PSR, PSD and SyncAN switchable.

One update: K multi-scale action maps are drawn for each image of a batch, the environment scores
them, and every scale adds a loss term of its own (PSR, progressive scale rewards). The network
sees images and scores, never a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from agents.advantages import synchronised_deviation
from agents.distributed import own_seed
from agents.learner import Learner
from agents.metric_regression import metric_regression
from agents.objectives import (
    coarsened_cross_entropy,
    policy_gradient,
    pool_cells,
    relative_regression,
)
from agents.policies import SegmentationNetwork
from agents.replay import ReplayMemory, ScoredMaps, ShareMemory
from agents.sampling import mix_with_uniform, sample_maps, sample_varied_maps
from agents.score_models import linear_prediction
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv


@dataclass(frozen=True)
class RSSConfig:
    """How the agent learns; each part can be switched off for an ablation."""

    objective: Literal["relative_regression", "policy_gradient"] = "relative_regression"
    """What is made of the scores."""
    score_model: Literal["auto", "metric", "linear"] = "auto"
    """Regression: how maps turn into scores. metric: by the environment's formula, with the
    network's probabilities for the label; linear: each cell adds its logit. auto: metric, but
    linear for scorers and for pixel rewards that are noisy, ranked or class-balanced."""
    psr: bool = True
    """Act and be scored at several scales; otherwise at the finest only."""
    psd: bool = True
    """Compare maps in pairs, cell by cell where they differ."""
    syncan: bool = True
    """Policy gradient, linear model: normalise by the deviation over the whole batch, on all
    ranks. (The metric model knows the deviations of its predictions, image by image.)"""
    replay: int = 8
    """Image scores: batches of scored maps remembered of each image; none with --zoom and
    --colour-jitter, which make it another image each time."""
    temperature: float | None = None
    """Of the policy's softmax; None: 0.05 for the linear model, whose logits are rewards, or 1."""
    exploration: float = 0.2
    """Share of uniformly random classes at the start."""
    final_exploration: float = 0.02
    """The same at the end; in between it falls linearly."""
    metric_decisions: bool = True
    """Metric model: answer with the class that adds most to the expected metric, instead of the
    most likely one."""
    varied: float | None = None
    """Share of the maps that differ in whole regions and classes; None: half of them under ratings
    and noise, which hide small differences, and otherwise none."""
    entropy: float = 0.5
    """Policy gradient: coefficient of the entropy at the start, in reward per cell."""
    final_entropy: float = 0.05
    """The same at the end; in between it falls by the same factor with each update."""

    def check(self) -> None:
        """Refuse values that make no policy.

        Raises:
            InputError: Naming the field, its value and the valid range.
        """
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise InputError(f"temperature must be positive, got {self.temperature}")
        for name in ("exploration", "final_exploration"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in 0..1 (below 1), got {getattr(self, name)}")
        for name in ("entropy", "final_entropy"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.varied is not None and not 0 <= self.varied <= 1:
            raise InputError(f"varied must be in 0..1, got {self.varied}")
        if self.replay < 0:
            raise InputError(f"replay must be at least 0, got {self.replay}")


class RSSLearner(Learner):
    """Draws maps, has them scored, and turns the scores into a loss."""

    def __init__(
        self, network: SegmentationNetwork, env: RSSVectorEnv, config: RSSConfig, seed: int
    ):
        """Bind a network to an environment and reset the latter.

        Args:
            network: What learns.
            env: With `array="torch"`, SAME_STEP autoreset and `group_size` K > 1.
            config: How to learn.
            seed: Of the images and of the maps drawn.

        Raises:
            InputError: If the environment or the configuration does not fit.
        """
        config.check()
        if env.group_size < 2:
            raise InputError("learning from scores compares maps: group_size must be at least 2")
        self.network, self.decide = network, network.decide
        self.env, self.config = env, config
        self.regresses = config.objective == "relative_regression"
        self.uses_metric = self.regresses and self._choose_metric_model()
        self.is_linear = self.regresses and not self.uses_metric
        temperature = 0.05 if self.is_linear else 1.0
        self.temperature = temperature if config.temperature is None else config.temperature
        if config.varied and not self.uses_metric:
            raise InputError(
                f"varied ({config.varied}) needs the regression with score_model 'metric', which "
                "knows how scores of regions vary together; valid here: 0"
            )
        hides_differences = self.uses_metric and env.feedback.kind in ("rating", "noisy")
        varied = 0.5 * hides_differences if config.varied is None else config.varied
        self.num_varied = 0 if env.pixel_level else round(varied * env.group_size)
        self.memory: ReplayMemory | None = None
        self.shares: ShareMemory | None = None
        if self.uses_metric and env.pixel_level:
            self.shares = ShareMemory(env.geometry)
        elif config.replay and not env.pixel_level and not env.augmentation.makes_new_images:
            self.memory = ReplayMemory(
                env.geometry, env.group_size, config.replay, with_likelihoods=not self.regresses
            )
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.observations, _ = env.reset(seed=own_seed(seed, env.num_envs // env.group_size))
        self.queries_per_update = env.num_envs * len(env.geometry.scales)

    def _choose_metric_model(self) -> bool:
        env, chosen = self.env, self.config.score_model
        if env.pixel_level:
            fits = env.feedback.kind in ("exact", "rating") and not env.class_balanced
        else:
            fits = env.metric is not None
        if chosen == "metric" and not fits:
            raise InputError(
                "score_model 'metric' needs scores of a known metric (no scorer) or, at the pixel "
                "level, plain rewards without noise; valid here: auto, linear"
            )
        return fits and chosen != "linear"

    def loss(self, progress: float = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One batch: act, be scored, and say what to minimise.

        Args:
            progress: Share of the training done, 0..1; exploration falls with it.

        Returns:
            The loss, and tensors to log: `score` (mean reward) and the mean score of each scale.
        """
        geometry, members = self.env.geometry, self.env.group_size
        images = self.observations[::members]  # a group's images are alike
        beliefs, policy = self._believe(self.network(images), progress)
        maps = torch.cat(
            [self._draw(*part) for part in zip(policy, geometry.grids, strict=True)], -1
        )
        self.observations, rewards, _, _, infos = self.env.step(maps.flatten(0, 1))
        told = infos["final_info"]
        if self.env.pixel_level:
            scores = told["pixel_rewards"].unflatten(0, (-1, members))
            by_scale = geometry.split(scores)
        else:
            scores = told["scale_scores"].unflatten(0, (-1, members))
            by_scale = scores.unbind(-1)
        if self.shares is not None:
            known = geometry.split(self.shares.add(images, maps, scores))
            terms = [coarsened_cross_entropy(*part) for part in zip(beliefs, known, strict=True)]
        elif self.regresses:
            terms = self._regress(beliefs, self._with_older(images, maps, scores))
        else:
            drawn = self._with_older(images, maps, scores, policy)
            terms = self._climb(policy, drawn, progress)
        metrics = {"score": rewards.mean()}
        for scale, part in zip(geometry.scales, by_scale, strict=True):
            metrics[f"score_scale_{scale}"] = part.mean()
        return torch.stack(terms).mean(), metrics

    def _believe(
        self, logits: torch.Tensor, progress: float
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Beliefs and policy (B, C, P) of each scale, from logits (B, C, H, W)."""
        config, scales = self.config, self.env.geometry.scales
        fallen = progress * (config.final_exploration - config.exploration)
        if self.is_linear:
            beliefs = pool_cells(logits, scales)
            chances = [(part / self.temperature).softmax(1) for part in beliefs]
        else:
            pixels = (logits / self.temperature).softmax(1)
            if self.uses_metric and config.metric_decisions and not self.env.pixel_level:
                assert self.env.metric is not None
                self.decide.observe(pixels, self.env.metric, self.temperature)
            beliefs = chances = pool_cells(pixels, scales)
        return beliefs, [mix_with_uniform(part, config.exploration + fallen) for part in chances]

    def _draw(self, policy: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """K maps (B, K, P) of a scale, the varied ones last."""
        policy, plain = policy.detach(), self.env.group_size - self.num_varied
        parts = []
        if plain:
            # (The policy gradient's baseline, the mean of the other maps, has to be independent.)
            parts.append(sample_maps(policy, plain, self.generator, stratified=self.regresses))
        if self.num_varied:
            parts.append(sample_varied_maps(policy, self.num_varied, grid, self.generator))
        return torch.cat(parts, 1)

    def _with_older(
        self,
        images: torch.Tensor,  # (B, H, W, 3) uint8
        maps: torch.Tensor,  # (B, K, cells) uint8
        scores: torch.Tensor,  # (B, K, S) or, of cells, (B, K, cells)
        policy: list[torch.Tensor] | None = None,  # (B, C, P) of each scale, if it matters
    ) -> ScoredMaps:
        """This batch's scored maps, followed by the remembered ones."""
        if self.memory is None:
            valid = torch.ones(len(images), 1, dtype=torch.bool, device=images.device)
            return ScoredMaps(maps[:, None], scores[:, None], valid)
        likelihoods = None
        if policy is not None:
            likelihoods = torch.cat(policy, -1).detach().gather(1, maps.long())
        return self.memory.exchange(images, maps, scores, likelihoods)

    def _by_scale(self, scored: ScoredMaps) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Maps (B, V, K, P) and scores (B, V, K) or (B, V, K, P) of each scale."""
        split = self.env.geometry.split
        scores = split(scored.scores) if self.env.pixel_level else scored.scores.unbind(-1)
        return list(zip(split(scored.maps), scores, strict=True))

    def _regress(self, beliefs: list[torch.Tensor], scored: ScoredMaps) -> list[torch.Tensor]:
        """The regression loss of each scale."""
        terms, psd = [], self.config.psd
        for belief, (maps, scores), grid in zip(
            beliefs, self._by_scale(scored), self.env.geometry.grids, strict=True
        ):
            if self.is_linear:
                terms.append(self._regress_linearly(belief, maps, scores, scored.valid))
                continue
            assert self.env.metric is not None
            terms.append(
                metric_regression(
                    belief,
                    maps,
                    scores,
                    scored.valid,
                    self.env.metric,
                    self.env.feedback,
                    psd=psd,
                    grid=grid if self.num_varied else None,
                )
            )
        return terms

    def _regress_linearly(
        self,
        belief: torch.Tensor,  # (B, C, P) logits in units of reward
        maps: torch.Tensor,  # (B, V, K, P) uint8
        scores: torch.Tensor,  # (B, V, K), or (B, V, K, P) rewards of cells
        valid: torch.Tensor,  # (B, V) bool
    ) -> torch.Tensor:
        """The loss of a scale under the linear model."""
        cells = linear_prediction(belief, maps.flatten(1, 2)).unflatten(1, maps.shape[1:3])
        predicted = cells if self.env.pixel_level else cells.mean(-1)
        if self.config.syncan:
            there = valid.view(*valid.shape, *[1] * (scores.ndim - 2)).expand_as(scores)
            deviation = synchronised_deviation(scores - scores.mean(2, keepdim=True), there)
        else:  # a constant of the scale
            deviation = scores.new_tensor(1.0 if self.env.pixel_level else maps.shape[3] ** -0.5)
        return relative_regression(predicted, scores, deviation, psd=self.config.psd, valid=valid)

    def _climb(
        self, policy: list[torch.Tensor], scored: ScoredMaps, progress: float
    ) -> list[torch.Tensor]:
        """The policy-gradient loss of each scale."""
        config, split = self.config, self.env.geometry.split
        entropy = config.entropy ** (1 - progress) * config.final_entropy**progress
        likelihoods = (
            [None] * len(policy) if scored.likelihoods is None else split(scored.likelihoods)
        )
        return [
            policy_gradient(
                probabilities,
                *part,
                entropy,
                psd=config.psd,
                syncan=config.syncan,
                likelihoods=drawn_with,
                valid=scored.valid,
            )
            for probabilities, part, drawn_with in zip(
                policy, self._by_scale(scored), likelihoods, strict=True
            )
        ]
