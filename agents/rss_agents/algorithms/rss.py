"""The agent that learns from scores: our reading of RSS, with PSR, PSD and SyncAN switchable.

One update: K multi-scale action maps are drawn for each image of a batch, the environment scores
them, and every scale adds a loss term of its own (PSR, progressive scale rewards). The network
sees images and scores, never a label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from rss_agents.algorithms.base import Learner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.algorithms.sampling import sample_maps, sample_varied_maps
from rss_agents.distributed import own_seed
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.kernels.sample_classes import mix_with_uniform
from rss_agents.losses.advantages import synchronised_deviation
from rss_agents.losses.cross_entropy import coarsened_cross_entropy
from rss_agents.losses.metric_regression import metric_regression
from rss_agents.losses.policy_gradient import policy_gradient
from rss_agents.losses.regression import relative_regression
from rss_agents.losses.score_models import linear_prediction
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.replay.replay_memory import ReplayMemory
from rss_agents.replay.scored_maps import ScoredMaps
from rss_agents.replay.share_memory import ShareMemory
from rss_env.errors import InputError
from rss_env.vector_env import RSSVectorEnv


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
        self.network, self.decide, self.stride = network, network.decide, network.stride
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
        self._last: dict[str, torch.Tensor] = {}
        self.memory: ReplayMemory | None = None
        self.shares: ShareMemory | None = None
        if self.uses_metric and env.pixel_level:
            self.shares = ShareMemory(env.geometry, env.num_images, device=env.device)
        elif config.replay and not env.pixel_level and not env.augmentation.makes_new_images:
            self.memory = ReplayMemory(
                env.geometry,
                env.num_images,
                env.group_size,
                max(1, config.replay // env.group_size),
                batch_size=env.num_envs // env.group_size,
                with_likelihoods=not self.regresses,
                device=env.device,
            )
        self.generator = torch.Generator(env.device).manual_seed(seed)
        self.observations, _ = env.reset(seed=own_seed(seed, env.num_envs // env.group_size))
        self.queries_per_update = env.num_envs * len(env.geometry.scales)

    def _choose_metric_model(self) -> bool:
        env, chosen = self.env, self.config.score_model
        if env.pixel_level:
            fits = env.feedback.kind in ("exact", "rating") and not env.class_balanced
        else:
            fits = env.metric is not None or chosen == "metric"  # of a scorer we are told so
        if chosen == "metric" and not fits:
            raise InputError(
                "score_model 'metric' needs, at the pixel level, plain rewards without noise; "
                "valid here: auto, linear"
            )
        return fits and chosen != "linear"

    def loss(self, progress: float = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """One batch: act, be scored, and say what to minimise.

        Args:
            progress: Share of the training done, 0..1; exploration falls with it.

        Returns:
            The loss, and tensors to log: `score` (mean reward), and of each scale's scores the
            mean, the 10th and the 90th percentile.
        """
        env, geometry, members = self.env, self.env.geometry, self.env.group_size
        images = self.observations[::members]  # a group's images are alike
        index = env.image_index
        logits, known_as = self.network(images), None
        remembered = self._remembered
        if remembered is not None:
            known_as = remembered.recognise(images)
        mirrored = None if known_as is None else known_as.mirrored
        beliefs, chances = self._believe(logits, mirrored)
        fallen = progress * (self.config.final_exploration - self.config.exploration)
        exploration = self.config.exploration + fallen
        maps = self._draw(chances.detach(), exploration)
        shown = maps if mirrored is None else geometry.mirror(maps, mirrored)
        self.observations, rewards, _, _, infos = env.step(shown.flatten(0, 1))
        told = infos["final_info"]["pixel_rewards" if env.pixel_level else "scale_scores"]
        scores = told.unflatten(0, (-1, members))
        self._last = {"images": images, "index": index, "maps": shown, "scores": scores}
        metrics = {"score": rewards.mean(), **self._spread_of(scores)}
        if self.shares is not None and known_as is not None:
            scores = geometry.mirror(scores, known_as.mirrored)
            shares = self.shares.add(known_as.keys, maps, scores)
            return self._mean_over_scales(coarsened_cross_entropy, beliefs, shares), metrics
        policy = likelihoods = None
        if not self.regresses:
            policy = mix_with_uniform(chances, exploration)
            likelihoods = policy.detach().gather(1, maps.long())
        scored = ScoredMaps.new(maps, scores, geometry, likelihoods)
        if self.memory is not None and known_as is not None:
            scored = self.memory.exchange(known_as.keys, scored)
        if policy is not None:
            return self._climb(policy, scored, progress), metrics
        if self.is_linear:
            return self._regress_linearly(beliefs, scored), metrics
        loss = metric_regression(
            beliefs,
            scored,
            geometry,
            env.formula,
            env.feedback,
            self.generator,
            psd=self.config.psd,
            in_regions=self.num_varied > 0,
        )
        return loss, metrics

    def _spread_of(self, scores: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean, 10th and 90th percentile of the maps' scores at each scale, to log."""
        geometry, told = self.env.geometry, scores
        if self.env.pixel_level:
            told = torch.stack([part.mean(-1) for part in geometry.split(scores)], -1)
        ordered = told.flatten(0, 1).sort(0).values
        tenth = len(ordered) // 10
        found: dict[str, torch.Tensor] = {}
        for s, scale in enumerate(geometry.scales):
            found[f"score_scale_{scale}"] = ordered[:, s].mean()
            found[f"score_scale_{scale}_low"] = ordered[tenth, s]
            found[f"score_scale_{scale}_high"] = ordered[-1 - tenth, s]
        return found

    @property
    def _remembered(self) -> ReplayMemory | ShareMemory | None:
        """The memory of images: of their scored maps, or of what rewards of cells told."""
        return self.shares if self.memory is None else self.memory

    def get_state(self) -> dict[str, Any]:
        """Of the environment, the generator of maps, and the memory."""
        memory = self._remembered
        return {
            "env": self.env.get_state(),
            "generator": self.generator.get_state(),
            "memory": None if memory is None else memory.get_state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self.env.set_state(state["env"])
        self.observations = self.env.observe()
        self.generator.set_state(state["generator"])
        memory = self._remembered
        if memory is not None:
            memory.set_state(state["memory"])

    def last_batch(self) -> dict[str, torch.Tensor]:
        """The images, their numbers, the maps drawn for them and their scores."""
        return self._last

    def _believe(
        self, logits: torch.Tensor, mirrored: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Beliefs and chances (B, C, cells) of all scales, of images as they are remembered.

        The chances are the policy, but for its exploration.
        """
        config, scales, stride = self.config, self.env.geometry.scales, self.stride
        if self.is_linear:
            beliefs = pool_cells(logits, scales, stride, mirrored)
            return beliefs, self._softmax(beliefs)
        pixels = self._softmax(logits)
        if self.uses_metric and config.metric_decisions and not self.env.pixel_level:
            self.decide.observe(pixels.detach(), self.env.formula, self.temperature)
        beliefs = pool_cells(pixels, scales, stride, mirrored)
        return beliefs, beliefs

    def _softmax(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, C, ...) of logits at the policy's temperature."""
        scaled = logits if self.temperature == 1 else logits / self.temperature
        return scaled.softmax(1)

    def _draw(self, chances: torch.Tensor, exploration: float) -> torch.Tensor:
        """K maps (B, K, cells) of a policy (B, C, cells), the varied ones last."""
        geometry, plain = self.env.geometry, self.env.group_size - self.num_varied
        parts = []
        if plain:
            # (The policy gradient's baseline, the mean of the other maps, has to be independent.)
            how = {"stratified": self.regresses, "exploration": exploration}
            parts.append(sample_maps(chances, plain, self.generator, **how))
        if self.num_varied:
            policy = mix_with_uniform(chances, exploration)
            varied = [
                sample_varied_maps(part, self.num_varied, grid, self.generator)
                for part, grid in zip(geometry.split(policy), geometry.grids, strict=True)
            ]
            parts.append(torch.cat(varied, 2))
        return torch.cat(parts, 1)

    def _mean_over_scales(
        self, loss: Callable[..., torch.Tensor], *parts: torch.Tensor
    ) -> torch.Tensor:
        """The mean of a loss of each scale's cells of tensors (..., cells)."""
        split = zip(*map(self.env.geometry.split, parts), strict=True)
        return torch.stack([loss(*part) for part in split]).mean()

    def _regress_linearly(self, beliefs: torch.Tensor, scored: ScoredMaps) -> torch.Tensor:
        """The loss under the linear model, of beliefs (B, C, cells) in units of reward."""
        terms, geometry, valid = [], self.env.geometry, scored.valid
        shape = scored.rows.shape[1:]
        maps = scored.own_maps.flatten(1, 2)
        if self.env.pixel_level:
            cells = beliefs.gather(1, maps.long()).unflatten(1, shape)
            predictions, scores = geometry.split(cells), geometry.split(scored.scores)
        else:
            means = linear_prediction(beliefs, maps, geometry.offsets).unflatten(1, shape)
            predictions, scores = means.unbind(-1), scored.scores.unbind(-1)
        for predicted, told, count in zip(predictions, scores, geometry.cells, strict=True):
            if self.config.syncan:
                there = valid.view(*valid.shape, *[1] * (told.ndim - 2)).expand_as(told)
                deviation = synchronised_deviation(told - told.mean(2, keepdim=True), there)
            else:  # a constant of the scale
                deviation = told.new_full((), 1.0 if self.env.pixel_level else count**-0.5)
            terms.append(
                relative_regression(predicted, told, deviation, psd=self.config.psd, valid=valid)
            )
        return torch.stack(terms).mean()

    def _climb(self, policy: torch.Tensor, scored: ScoredMaps, progress: float) -> torch.Tensor:
        """The policy-gradient loss of a policy (B, C, cells)."""
        config, split = self.config, self.env.geometry.split
        entropy = config.entropy ** (1 - progress) * config.final_entropy**progress
        scores = split(scored.scores) if self.env.pixel_level else scored.scores.unbind(-1)
        assert scored.likelihoods is not None
        terms = [
            policy_gradient(
                probabilities,
                maps,
                told,
                entropy,
                psd=config.psd,
                syncan=config.syncan,
                likelihoods=drawn_with if self.memory is not None else None,
                valid=scored.valid,
            )
            for probabilities, maps, told, drawn_with in zip(
                split(policy),
                split(scored.own_maps),
                scores,
                split(scored.likelihoods),
                strict=True,
            )
        ]
        return torch.stack(terms).mean()
