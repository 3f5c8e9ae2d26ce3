"""The agent that learns from scores: our reading of RSS, with PSR, PSD and SyncAN switchable.

One update: K multi-scale action maps are drawn for each image of a batch, the environment scores
them, and every scale adds a loss term of its own (PSR, progressive scale rewards). The network
sees images and scores, never a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from agents.advantages import synchronised_deviation
from agents.coarse_feedback import scores_from_order, scores_from_ratings
from agents.learner import Learner
from agents.objectives import (
    coarsened_cross_entropy,
    group_variances,
    policy_gradient,
    pool_cells,
    relative_regression,
    whitened_regression,
)
from agents.policies import SegmentationNetwork
from agents.replay import ReplayMemory, ShareMemory
from agents.sampling import mix_with_uniform, sample_maps, sample_varied_maps
from agents.score_models import linear_prediction, metric_covariance, metric_prediction
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv

# Variance of a score that the metric model's covariance does not explain, as a share of the mean
# variance it gives the image's scores; and one to keep the sum positive.
_UNEXPLAINED, _TINY = 0.1, 1e-8
# Under ratings, variance of an error that all maps of a group have in common, in the same unit. It
# is not left free as under PSD: mostly one map of a group gets a star, and the others tell nothing.
_COMMON = 30.0


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
    """Regression of image scores: batches of scored maps remembered of each image."""
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
    """Policy gradient: coefficient of the entropy, in reward per cell."""

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
        if not 0 <= self.entropy < float("inf"):
            raise InputError(f"entropy must be at least 0, got {self.entropy}")
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
        self.network, self.env, self.config = network, env, config
        self.regresses = config.objective == "relative_regression"
        self.uses_metric = self.regresses and self._choose_metric_model()
        temperature = 0.05 if self.regresses and not self.uses_metric else 1.0
        self.temperature = temperature if config.temperature is None else config.temperature
        hides_differences = self.uses_metric and env.feedback.kind in ("rating", "noisy")
        varied = 0.5 * hides_differences if config.varied is None else config.varied
        self.num_varied = 0 if env.pixel_level else round(varied * env.group_size)
        self.memory: ReplayMemory | None = None
        self.shares: ShareMemory | None = None
        if self.uses_metric and env.pixel_level:
            self.shares = ShareMemory(env.geometry)
        elif self.regresses and config.replay and not env.pixel_level:
            self.memory = ReplayMemory(env.geometry, env.group_size, config.replay)
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.observations, _ = env.reset(seed=seed)
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
        config, geometry, members = self.config, self.env.geometry, self.env.group_size
        images = self.observations[::members]  # a group's images are alike
        logits = self.network(images)
        exploration = config.exploration + progress * (
            config.final_exploration - config.exploration
        )
        if self.uses_metric:
            pixels = (logits / self.temperature).softmax(1)
            if config.metric_decisions and not self.env.pixel_level:
                assert self.env.metric is not None
                self.network.decide.observe(pixels, self.env.metric, self.temperature)
            beliefs = pool_cells(pixels, geometry.scales)
            policy = [mix_with_uniform(part, exploration) for part in beliefs]
        else:
            beliefs = pool_cells(logits, geometry.scales)
            policy = [
                mix_with_uniform((part / self.temperature).softmax(1), exploration)
                for part in beliefs
            ]
        maps = [
            self._draw(part.detach(), grid)
            for part, grid in zip(policy, geometry.grids, strict=True)
        ]
        self.observations, rewards, _, _, infos = self.env.step(torch.cat(maps, -1).flatten(0, 1))
        told = infos["final_info"]
        if self.env.pixel_level:
            scores = geometry.split(told["pixel_rewards"].unflatten(0, (-1, members)))
        else:
            scores = list(told["scale_scores"].unflatten(0, (-1, members)).unbind(-1))
        if self.shares is not None:
            known = self.shares.add(images, torch.cat(maps, -1), torch.cat(scores, -1))
            terms = [
                coarsened_cross_entropy(*part)
                for part in zip(beliefs, geometry.split(known), strict=True)
            ]
        elif self.regresses:
            terms = self._regress(images, beliefs, maps, scores)
        else:
            terms = [
                policy_gradient(*part, config.entropy, psd=config.psd, syncan=config.syncan)
                for part in zip(policy, maps, scores, strict=True)
            ]
        metrics = {"score": rewards.mean()}
        for scale, part in zip(geometry.scales, scores, strict=True):
            metrics[f"score_scale_{scale}"] = part.mean()
        return torch.stack(terms).mean(), metrics

    def _draw(self, policy: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """K maps (B, K, P) of a scale, the varied ones last."""
        plain = self.env.group_size - self.num_varied
        parts = []
        if plain:
            # (The policy gradient's baseline, the mean of the other maps, has to be independent.)
            parts.append(sample_maps(policy, plain, self.generator, stratified=self.regresses))
        if self.num_varied:
            parts.append(sample_varied_maps(policy, self.num_varied, grid, self.generator))
        return torch.cat(parts, 1)

    def _regress(
        self,
        images: torch.Tensor,  # (B, H, W, 3) uint8
        beliefs: list[torch.Tensor],  # (B, C, P) of each scale
        maps: list[torch.Tensor],  # (B, K, P) uint8 of each scale
        scores: list[torch.Tensor],  # (B, K) or (B, K, P) of each scale
    ) -> list[torch.Tensor]:
        """The regression loss of each scale, over this batch's maps and the remembered ones."""
        deviations = [self._deviation(part, maps[s].shape[2]) for s, part in enumerate(scores)]
        # Of each scale, (B, V, K, ...): V is 1 group of maps so far, this batch's.
        groups = [
            (part[:, None], told[:, None], deviation.expand(len(images), 1))
            for part, told, deviation in zip(maps, scores, deviations, strict=True)
        ]
        valid = groups[0][1].new_ones(len(images), 1, dtype=torch.bool)
        if self.memory is not None:
            keys, mirrored = self.memory.recognise(images)
            old = self.memory.recall(keys, mirrored)
            joint = (torch.cat(maps, -1), torch.stack(scores, -1), torch.stack(deviations))
            self.memory.remember(keys, mirrored, *joint)
            remembered = zip(
                self.env.geometry.split(old.maps),
                old.scores.unbind(-1),
                old.deviations.unbind(-1),
                strict=True,
            )
            groups = [
                (torch.cat([m, old_m], 1), torch.cat([r, old_r], 1), torch.cat([d, old_d], 1))
                for (m, r, d), (old_m, old_r, old_d) in zip(groups, remembered, strict=True)
            ]
            valid = F.pad(old.valid, (1, 0), value=True)
        if self.uses_metric:
            return [
                self._whitened(belief, maps, scores, valid, grid)
                for belief, (maps, scores, _), grid in zip(
                    beliefs, groups, self.env.geometry.grids, strict=True
                )
            ]
        return [
            self._relative(belief, *group, valid)
            for belief, group in zip(beliefs, groups, strict=True)
        ]

    def _whitened(
        self,
        belief: torch.Tensor,  # (B, C, P) probabilities
        maps: torch.Tensor,  # (B, V, K, P) uint8
        scores: torch.Tensor,  # (B, V, K)
        valid: torch.Tensor,  # (B, V) bool
        grid: tuple[int, int],
    ) -> torch.Tensor:
        """The loss of a scale under the metric model."""
        assert self.env.metric is not None
        feedback, shape, flat = self.env.feedback, maps.shape[1:3], maps.flatten(1, 2)
        predicted = metric_prediction(belief, flat, self.env.metric).unflatten(1, shape)
        covariance = metric_covariance(
            belief, flat, self.env.metric, grid if self.num_varied else None
        )
        variances, within = group_variances(covariance, *shape)
        weights = (valid / valid.sum(1, keepdim=True)).to(within.dtype)
        level = (variances.mean(2) * weights).sum(1)
        unexplained = _UNEXPLAINED * (within * weights).sum(1) + _TINY
        noise = unexplained[:, None, None].expand_as(scores)
        offset = torch.full_like(level, torch.inf) if self.config.psd else None
        if feedback.kind == "rating":
            expected = variances + level[:, None, None] + _TINY
            scores, error = scores_from_ratings(scores, feedback.amount, predicted, expected)
            noise = noise + error
            offset = _COMMON * level if self.config.psd else None
        elif feedback.kind == "ranking":
            valid = valid & (scores.amax(2) > scores.amin(2))  # a group of ties says nothing
            scores, error = scores_from_order(scores, predicted, within)
            noise = noise + error[..., None]
        else:
            noise = noise + feedback.variance
        return whitened_regression(predicted, scores, covariance, noise, offset=offset, valid=valid)

    def _relative(
        self,
        belief: torch.Tensor,  # (B, C, P) logits in units of reward
        maps: torch.Tensor,  # (B, V, K, P) uint8
        scores: torch.Tensor,  # (B, V, K), or (B, V, K, P) rewards of cells
        deviation: torch.Tensor,  # (B, V)
        valid: torch.Tensor,  # (B, V) bool
    ) -> torch.Tensor:
        """The loss of a scale under the linear model."""
        cells = linear_prediction(belief, maps.flatten(1, 2)).unflatten(1, maps.shape[1:3])
        predicted = cells if self.env.pixel_level else cells.mean(-1)
        return relative_regression(predicted, scores, deviation, psd=self.config.psd, valid=valid)

    def _deviation(self, scores: torch.Tensor, cells: int) -> torch.Tensor:
        """What residuals of a scale are measured in: SyncAN, or else a constant of the scale."""
        if self.config.syncan:
            return synchronised_deviation(scores - scores.mean(1, keepdim=True))
        return scores.new_tensor(1.0 if self.env.pixel_level else cells**-0.5)
