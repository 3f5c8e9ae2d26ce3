"""Algorithms of `rss-train` as entries: the same learners, steps and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
import tyro
from torch import nn

from benchmarks.learning.suites import VARIANTS
from rss_agents.algorithms.base import Learner
from rss_agents.algorithms.objectives import recalls_images
from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.algorithms.registry import build_learner
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription
from rss_agents.networks.segmentation_network import SegmentationNetwork, evaluating
from rss_agents.training.config import TrainConfig
from rss_agents.training.optimisation import build_optimizer
from rss_agents.training.run import GradientRun
from rss_env.errors import InputError
from rss_env.scenes import load_scenes
from rss_env.vector_env import RSSVectorEnv


def train_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Settings as arguments of `rss-train`: `learning_rate`, `baseline.entropy`, and so on."""
    arguments: list[str] = []
    for name, value in settings.items():
        group, dot, option = name.replace("_", "-").rpartition(".")
        if isinstance(value, bool):
            arguments.append(f"--{group}{dot}{'' if value else 'no-'}{option}")
        else:
            values = value if isinstance(value, list) else [value]
            arguments += [f"--{group}{dot}{option}", *map(str, values)]
    return arguments


class OfTraining(nn.Module):
    """An algorithm of `rss-train`; its settings are options of that command."""

    variant: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    asks: ClassVar[bool] = True  # for scores
    needs_scale_scores: ClassVar[bool] = False

    def __init__(self, num_classes: int, image_size: tuple[int, int], seed: int, **settings: Any):
        """Build the network.

        Raises:
            InputError: If a setting is none of `rss-train`, or invalid.
        """
        super().__init__()
        settings = {**self.defaults, **settings}
        fixed = ["--out", "unused", "--seed", str(seed), *VARIANTS[self.variant].arguments]
        try:
            self.config = tyro.cli(TrainConfig, args=[*fixed, *train_arguments(settings)])
        except SystemExit:
            raise InputError(f"settings {settings} are no options of rss-train") from None
        self.config.check()
        self.network = build_network(self.config.network, num_classes, image_size)

    @property
    def environment(self) -> dict[str, Any]:
        """See `Algorithm.environment`."""
        config = self.config
        return {
            "num_envs": config.num_images * config.group_size,
            "group_size": config.group_size,
            "scales": config.scales,
            "horizontal_flip": config.horizontal_flip,
            "zoom": config.zoom,
            "colour_jitter": config.colour_jitter,
            "num_views": config.num_views,
            "array": "torch",
        }

    def learner(self, env: RSSVectorEnv, plan: QueryPlan | None = None) -> Learner:
        """What gives losses.

        Args:
            env: What scores, and shows images.
            plan: Which updates ask for scores; None: all of them.

        Raises:
            InputError: If the track does not tell what it learns from.
        """
        config = self.config
        told = env.pixel_level or "scale_scores" in env.info_shapes
        if self.needs_scale_scores and not told:
            raise InputError(f"{self.variant} learns from a score of each scale: --told scales")
        return build_learner(
            config.algo,
            self.network,
            env,
            lambda: load_scenes(env.dataset, env.image_size),
            agent=config.agent,
            baseline=config.baseline,
            supervised=config.supervised,
            seed=config.seed,
            plan=plan,
        )

    def learn(self, env: Any, budget: int) -> None:
        """See `Algorithm.learn`: as many updates as the budget has scores for.

        `rss`, which remembers scores, makes `updates`, if that is more, and asks in some of them.

        Raises:
            InputError: If it allows none, or the track does not tell what is learned from.
        """
        task = env.unwrapped
        updates, plan = self.config.updates, None
        if self.asks:
            each = self.config.accumulate * task.num_envs * len(task.geometry.scales)
            if budget < each:
                raise InputError(f"{self.variant} asks for {each} scores an update, of {budget}")
            plan = self._plan(task, budget, each)
            updates = budget // each if plan is None else plan.updates
        self.config = replace(self.config, updates=updates)
        learner = self.learner(task, plan)
        optimizer, schedule = build_optimizer(self.config, self.network)
        run = GradientRun(
            network=self.network,
            learner=learner,
            validation=None,
            description=NetworkDescription.of(
                self.config.network, task.image_size, task.class_names, task.palette
            ),
            optimizer=optimizer,
            schedule=schedule,
            training_digest=task.content_digest,
            clip_gradient=self.config.clip_gradient,
            batches=self.config.accumulate,
        )
        for update in range(self.config.updates):
            run.update(update / self.config.updates)

    def _plan(self, env: RSSVectorEnv, budget: int, each: int) -> QueryPlan | None:
        """Which updates ask, of a budget of scores and for how many each; None: all of them."""
        return None

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """See `Algorithm.predict`."""
        network: SegmentationNetwork = self.network
        with evaluating(network):
            return network.predict(images)


class RSS(OfTraining):
    """Our agent."""

    variant = "rss"
    needs_scale_scores = True

    def _plan(self, env: RSSVectorEnv, budget: int, each: int) -> QueryPlan | None:
        """See `OfTraining._plan`: few scores are learned from in `updates`, where remembered."""
        updates = self.config.updates
        if budget >= updates * each or not recalls_images(env, self.config.agent):
            return None
        return QueryPlan.of_budget(budget, each, updates)


class RSSPolicyGradient(OfTraining):
    """The policy gradient with PSR, PSD and SyncAN."""

    variant = "rss-policy-gradient"
    needs_scale_scores = True


class Labels(OfTraining):
    """Cross-entropy on labels: what they are worth, in as many updates as `rss` makes."""

    variant = "psl"
    asks = False
