"""The agent that learns from scores: our reading of RSS, with PSR, PSD and SyncAN switchable.

K action maps a_k of an image are drawn at each of several scales, and each gets a score R_k. Every
scale has a loss of its own (PSR, progressive scale rewards): the score of a coarse grid says much
about each of its few cells. Only differences R_k - R_j count, and they concern only the cells where
two maps differ (PSD, pair-wise spatial difference). Where they are normalised, it is by one
deviation for all images and processes (SyncAN, synchronised advantage normalisation).

REINFORCE follows (R_k - b) d log p(a_k) with a running mean b, RLOO with b the mean of the other
K - 1 scores, GRPO divides that by the group's deviation: each cell is paid for the whole map, and
what is learned of a class shrinks with its own probability. Here, by default, scores are regressed
on predictions from beliefs about the labels: f(a_k) is the metric's formula on expected counts, and
r' W r is minimised, with r = f - R and W the inverse covariance of a group's errors under these
beliefs. The residual in place of the score takes away what all other cells add. For scores of
unknown formula f(a_k) is a mixture of the metrics, warped and fitted as scores come. To compare
with there are the mean of the cells' logits for f(a_k) (REBEL with a uniform reference), and the
policy gradient: under it plain PSD is RLOO.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from rss_agents.algorithms.base import Learner, Progress
from rss_agents.algorithms.incumbent import Incumbent
from rss_agents.algorithms.objective_choice import choose_objective
from rss_agents.algorithms.objectives import Beliefs
from rss_agents.algorithms.query_plan import QueryPlan
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.distributed import mean_over_ranks, own_seed
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.random_draws import RandomDraws
from rss_agents.replay.share_memory import ShareMemory
from rss_env.errors import InputError
from rss_env.host_inputs import HostInputs
from rss_env.scene_stream import SceneBatch
from rss_env.vector_env import RSSVectorEnv


class RSSLearner(Learner):
    """Draws maps, has them scored, and turns the scores into a loss.

    Attributes:
        objective: Turns logits into a policy, and scores into a loss.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        env: RSSVectorEnv,
        config: RSSConfig,
        seed: int,
        plan: QueryPlan | None = None,
        incumbent: Incumbent | None = None,
    ):
        """Bind a network to an environment and reset the latter.

        Args:
            network: What learns.
            env: With `array="torch"`, SAME_STEP autoreset and `group_size` K > 1.
            config: The hyper-parameters.
            seed: Of the images and of the maps drawn.
            plan: Which updates ask for scores; None: all of them.
            incumbent: Answers until the network's own answers score better; None for none.

        Raises:
            InputError: If the environment, the configuration or the plan does not fit.
        """
        config.check()
        if env.group_size < 2:
            raise InputError("learning from scores compares maps: group_size must be at least 2")
        self.network, self.decide, self._own_network = network, network.decide, network
        self.env, self.config = env, config
        self.draws = RandomDraws(torch.Generator().manual_seed(seed), env.device)
        kind = choose_objective(env, config)
        if incumbent is not None and not kind.compares_answers:
            incumbent = None  # the others learn from every map of a group
        has_answers = incumbent is not None
        stride = network.stride
        self.objective = kind(env, config, stride, self.draws, with_uncounted=has_answers)
        self.plan, self.incumbent = plan, incumbent
        has_groups = not isinstance(self.objective.memory, ShareMemory | None)
        if plan is not None and (not has_groups or env.augmentation.varies_images):
            raise InputError(
                "a budget of queries needs a memory of scored maps to learn from in between: give "
                "--replay, an ImageReward environment, and none of --zoom, --colour-jitter and "
                "--crop-size"
            )
        self.objective.prepare(network, None if plan is None else plan.batches)
        self._seen = torch.zeros(env.num_images, dtype=torch.bool)
        self._last: dict[str, torch.Tensor] = {}
        env.reset(seed=own_seed(seed, env.num_envs // env.group_size))
        self._logged: dict[str, torch.Tensor] = {}
        self._has_warned, self._has_learned = False, False
        self._asked = 0  # batches that were scored
        self.queries_per_update = env.num_envs * len(env.geometry.scales)

    @property
    def answering(self) -> SegmentationNetwork | None:
        """See `Learner.answering`; the incumbent."""
        return None if self.incumbent is None else self.incumbent.network

    def losses(
        self, progress: Progress = 0.0
    ) -> Iterator[tuple[torch.Tensor | None, dict[str, torch.Tensor]]]:
        """See `Learner.losses`; none where a batch says nothing, or serves another end."""
        if self.incumbent is not None:
            self.incumbent.follow(self._own_network)
        learns = self.objective.learns
        if not learns and not self._asks(progress):
            yield None, self._logged
            return
        loss, metrics = self.loss(progress)
        says_nothing = self.env.metric is None and self._says_nothing()
        yield (loss if learns and not says_nothing else None), metrics

    def _asks(self, progress: Progress) -> bool:
        """Whether an update asks for scores; each one, as long as nothing can be learned."""
        if self.plan is None:
            return True
        update = round(float(progress) * self.plan.updates)
        asked_so_far = update <= self.plan.at_once  # not in a state of an earlier version
        if self.objective.asks_at_once and asked_so_far:
            self.plan = self.plan.asking_until(update + 1)
        return self.plan.asks(update)

    def _says_nothing(self) -> bool:
        """Whether all scores of the last batch, of all ranks, are the same; said once.

        What is recalled says nothing as long as no batch has said anything.
        """
        if "maps" not in self._last:
            return not self._has_learned
        scores = self._last["scores"]
        alike = (scores.max() == scores.min()).double()
        says_nothing = bool(mean_over_ranks(alike) == 1)
        self._has_learned |= not says_nothing
        if says_nothing and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"all {scores.numel()} maps of a batch have the same score, {scores.flatten()[0]:g}"
                ": nothing can be learned from that, and nothing is",
                stacklevel=2,
            )
        return says_nothing

    def loss(self, progress: Progress = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Act on one batch, be scored, and return the loss; or learn from what is remembered.

        Args:
            progress: Share of the training done, 0..1; exploration falls with it.

        Returns:
            The loss, and tensors to log: `score` (mean reward), of each scale's scores the mean,
            the 10th and the 90th percentile, and the numbers of a fitted formula. Where nothing is
            asked, those of the last time.
        """
        if not self._asks(progress):
            return self._recalled_loss(progress), self._logged
        objective, memory = self.objective, self.objective.memory
        looks_again = objective.varies_views and objective.learns
        batch = self.env.tell_scenes(self.draws.inputs)
        images = self.env.images_in(batch)
        if self.plan is not None:
            self.draws.inputs.do(self._note_seen)

        # Believe: what the network holds about the labels of images as they are remembered.
        keys = None if memory is None else memory.recognise(images)
        mirrored = None if keys is None else keys.mirrored
        with torch.set_grad_enabled(not objective.varies_views):
            beliefs = objective.beliefs(self.network(images), mirrored)
        policy = objective.policy(beliefs).detach()

        # Draw K maps of each image and scale.
        maps = objective.draw(policy, self.config.exploration_at(progress), keys)
        answers = self._answer(images, mirrored)
        if answers is not None:
            maps[:, -answers.shape[1] :] = answers

        # Ask for their scores.
        shown = maps if mirrored is None else self.env.geometry.mirror(maps, mirrored)
        rewards, scores = self._ask(shown, batch)
        self._last = {"images": images, "index": batch.index, "maps": shown, "scores": scores}
        if answers is not None and self.incumbent is not None:
            self.incumbent.compare(scores[:, -answers.shape[1] :, -1], self.decide)

        # Remember them, beside earlier ones of the same images.
        uncounted = None  # answers are chosen for what is predicted of them, and teach otherwise
        if self.incumbent is not None:
            uncounted = 0 if answers is None else answers.shape[1]
        scored = objective.remember(keys, maps, scores, policy, progress, uncounted)

        # Learn: how much of each class there is, for decisions that serve the metric; and the loss.
        self._note_decisions(beliefs)
        if looks_again:
            images, mirrored, scored = objective.view(images, mirrored, scored)
            beliefs = objective.beliefs(self.network(images), mirrored)
        loss = objective.loss(beliefs, scored, progress)
        spread = self._spread_of(scores)
        self._logged = {"score": rewards.mean(), **spread, **objective.numbers()}
        return loss, self._logged

    def _recalled_loss(self, progress: Progress) -> torch.Tensor:
        """The loss of a batch of images that were scored before, with nothing asked."""
        objective, env = self.objective, self.env
        assert objective.memory is not None
        count = env.num_envs // env.group_size
        index = self.draws.choose(self._seen, count)
        images = env.images_of(index)
        if env.augmentation.horizontal_flip:
            flip = self.draws.uniform(count) < 0.5
            images = torch.where(flip[:, None, None, None], images.flip(2), images)
        keys = objective.memory.recognise(images)
        self._last = {"images": images, "index": index}
        images, mirrored, scored = objective.view(images, keys.mirrored, objective.recall(keys))
        beliefs = objective.beliefs(self.network(images), mirrored)
        self._note_decisions(beliefs)
        return objective.loss(beliefs, scored, progress)

    def _note_decisions(self, beliefs: Beliefs) -> None:
        """Note how much of each class there is, for decisions that serve a metric."""
        if self.objective.serves_metric:
            self.decide.observe(
                beliefs.pixels.detach(),
                self.env.formula,
                self.objective.temperature,
                self.config.metric_model,
            )

    def queries_before(self, update: int) -> int:
        """See `Learner.queries_before`; by the plan, if there is one."""
        batches = update if self.plan is None else self.plan.batches_before(update)
        return batches * self.queries_per_update

    @torch.no_grad()
    def _answer(self, images: torch.Tensor, mirrored: torch.Tensor | None) -> torch.Tensor | None:
        """Answers (B, 3, P) to be compared by their scores; None if there is nothing to compare."""
        if self.incumbent is None:
            return None
        self._asked += 1
        if (self._asked - 1) % self.objective.compared_every:
            return None

        def cells_of(network: SegmentationNetwork) -> torch.Tensor:
            return self.objective.policy(self.objective.beliefs(network(images), mirrored))

        return self.incumbent.answers(
            cells_of(self.incumbent.challenger),
            cells_of(self.incumbent.network),
            self.decide if self.objective.serves_metric else None,
        )

    def _ask(
        self, maps: torch.Tensor, batch: SceneBatch[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rewards (B * K,) and scores (B, K, S), or rewards of cells (B, K, cells), of maps.

        The environment then sees its next images.
        """
        verdict = self.env.judge(maps, batch, self.draws.inputs)
        self.draws.inputs.do(self.env.move_on)
        name = "pixel_rewards" if self.env.pixel_level else "scale_scores"
        return verdict.rewards, verdict.infos[name].unflatten(0, (-1, self.env.group_size))

    def _note_seen(self) -> None:
        """Note which images the groups see now."""
        self._seen[torch.from_numpy(self.env.image_numbers)] = True

    def _spread_of(self, scores: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mean, 10th and 90th percentile of the maps' scores at each scale, to log."""
        geometry = self.env.geometry
        if self.env.pixel_level:
            scores = torch.stack([part.mean(-1) for part in geometry.split(scores)], -1)
        ordered = scores.flatten(0, 1).sort(0).values
        tenth = len(ordered) // 10
        found: dict[str, torch.Tensor] = {}
        for s, scale in enumerate(geometry.scales):
            found[f"score_scale_{scale}"] = ordered[:, s].mean()
            found[f"score_scale_{scale}_low"] = ordered[tenth, s]
            found[f"score_scale_{scale}_high"] = ordered[-1 - tenth, s]
        return found

    def replace_inputs(self, inputs: HostInputs) -> None:
        """See `Learner.replace_inputs`."""
        self.draws.inputs = inputs

    def get_state(self) -> dict[str, Any]:
        """The state of the environment, the generator of maps, and the memory."""
        budget = {}
        if self.plan is not None:
            budget = {"seen": self._seen, "logged": self._logged, "at_once": self.plan.at_once}
        return {
            "env": self.env.get_state(),
            "generator": self.draws.get_state(),
            "has_learned": self._has_learned,
            "asked": self._asked,
            "incumbent": None if self.incumbent is None else self.incumbent.get_state(),
            **self.objective.get_state(),
            **budget,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        if self.incumbent is not None and state["incumbent"] is None:
            raise InputError(
                "to resume it, the network that the run started from has to be there: its classes "
                "were others"
            )
        self.env.set_state(state["env"])
        self.draws.set_state(state["generator"])
        self._has_learned = state.get("has_learned", True)
        if self.incumbent is not None:
            self.incumbent.set_state(state["incumbent"])
            self._asked = state["asked"]
        self.objective.set_state(state)
        if self.plan is not None:
            self._seen.copy_(state["seen"])
            self._logged = state["logged"]
            self.plan = self.plan.asking_until(state.get("at_once", 0))

    def last_batch(self) -> dict[str, torch.Tensor]:
        """The images, their numbers, the maps drawn for them and their scores."""
        return self._last
