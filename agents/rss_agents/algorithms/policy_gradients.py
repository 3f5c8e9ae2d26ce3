"""Plain reinforcement learning as references: one reward per map, nothing else.

The reward is the return of all cells alike, of the finest scale (in `rss-train`) or of several.
What tells the methods apart is the advantage, and whether a batch is used for several clipped
steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from rss_agents.algorithms.base import Learner, Progress
from rss_agents.algorithms.reference_config import BaselineConfig
from rss_agents.algorithms.sampling import sample_maps
from rss_agents.distributed import mean_over_ranks, own_seed
from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.kernels.sample_classes import mix_with_uniform
from rss_agents.losses.advantages import leave_one_out, synchronised_deviation
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_agents.random_draws import RandomDraws
from rss_env.errors import InputError, check_choice
from rss_env.host_inputs import HostInputs
from rss_env.vector_env import RSSVectorEnv

METHODS = ("reinforce", "rloo", "grpo", "ppo")
# Coefficient of the entropy where the options have none, in the unit of the method's advantages.
_ENTROPY = {"reinforce": 0.5, "rloo": 0.5, "grpo": 0.05, "ppo": 0.05}


def clipped_objective(
    ratio: torch.Tensor, advantages: torch.Tensor, clip: float | None
) -> torch.Tensor:
    """The mean surrogate to be maximised, without gain from ratios beyond 1 +- clip.

    Args:
        ratio: (B, K, P) probability of each drawn class over the one it was drawn with.
        advantages: (B, K), of the whole map.
        clip: How far the ratio may go; None: anywhere.

    Source: proximal policy optimisation (Schulman et al., arXiv 1707.06347).
    """
    surrogate = ratio * advantages[..., None]
    if clip is not None:
        clipped = ratio.clamp(1 - clip, 1 + clip) * advantages[..., None]
        surrogate = torch.minimum(surrogate, clipped)
    return surrogate.mean()


class BaselineLearner(Learner):
    """REINFORCE, RLOO, GRPO and PPO on whole maps."""

    def __init__(
        self,
        method: str,
        network: SegmentationNetwork,
        env: RSSVectorEnv,
        config: BaselineConfig,
        seed: int,
    ):
        """Bind a network to an environment and reset the latter.

        Args:
            method: `reinforce` (Williams, 1992; less a running mean of the score), `rloo` (Kool et
                al., 2019), `grpo` (Shao et al., arXiv 2402.03300; without a reference policy) or
                `ppo` (Schulman et al., arXiv 1707.06347; the mean of an image's other maps stands
                for the critic).
            network: What learns.
            env: With `array="torch"`, `group_size` K > 1.
            config: How to learn.
            seed: Of the images and of the maps drawn.

        Raises:
            InputError: If the method is unknown or the environment does not fit.
        """
        config.check()
        self.method = check_choice("method", method, METHODS)
        if env.group_size < 2 and method != "reinforce":
            raise InputError(f"{method} compares maps of an image: group_size must be at least 2")
        if env.pixel_level:
            raise InputError(f"{method} learns from one score per map: use the ImageReward level")
        self.network, self.stride = network, network.stride
        self.env, self.config = env, config
        self.clips = method in ("grpo", "ppo")
        self.entropy = _ENTROPY[method] if config.entropy is None else config.entropy
        self.running_mean: torch.Tensor | None = None
        self._last: dict[str, torch.Tensor] = {}
        self.draws = RandomDraws(torch.Generator().manual_seed(seed), env.device)
        env.reset(seed=own_seed(seed, env.num_envs // env.group_size))
        self.queries_per_update = env.num_envs * len(env.geometry.scales)

    def advantages(self, scores: torch.Tensor, cells: int) -> torch.Tensor:
        """The method's advantages (B, K) of scores (B, K) of maps of so many cells."""
        if self.method == "reinforce":
            mean = mean_over_ranks(scores.mean())
            before = mean if self.running_mean is None else self.running_mean
            decay = self.config.decay
            advantages, moved = (scores - before) * cells, decay * before + (1 - decay) * mean
            # In place, from the second batch on: an update that is replayed reads it there.
            self.running_mean = moved if before is mean else before.copy_(moved)
            return advantages
        if self.method == "rloo":
            return leave_one_out(scores) * cells
        centred = scores - scores.mean(1, keepdim=True)
        if self.method == "grpo":
            return centred / (scores.std(1, keepdim=True) + 1e-6)
        return centred / synchronised_deviation(centred)

    def _policy(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities (B, C, P) of every cell's class."""
        pixels = self.network(images).softmax(1)
        cells = pool_cells(pixels, self.env.geometry.scales, self.stride)
        return mix_with_uniform(cells, self.config.exploration).clamp(min=1e-12)

    def losses(
        self, progress: Progress = 0.0
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        """Act once, then give the loss of each step on the batch."""
        group_size = self.env.group_size
        batch = self.env.tell_scenes(self.draws.inputs)
        images = self.env.images_in(batch)
        policy = self._policy(images)
        maps = sample_maps(policy.detach(), group_size, self.draws)
        verdict = self.env.judge(maps, batch, self.draws.inputs)
        self.draws.inputs.do(self.env.move_on)
        scores = verdict.rewards.unflatten(0, (-1, group_size))
        self._last = {"images": images, "index": batch.index, "maps": maps, "scores": scores}
        advantages = self.advantages(scores, maps.shape[2])
        drawn = policy.detach().gather(1, maps.long())
        for step in range(self.config.epochs if self.clips else 1):
            policy = policy if step == 0 else self._policy(images)
            ratio = policy.gather(1, maps.long()) / drawn
            gain = clipped_objective(ratio, advantages, self.config.clip if self.clips else None)
            entropy = -(policy * policy.log()).sum(1).mean()
            yield (
                -(gain + self.entropy * entropy),
                {"score": verdict.rewards.mean(), "entropy": entropy.detach()},
            )

    def replace_inputs(self, inputs: HostInputs) -> None:
        """See `Learner.replace_inputs`."""
        self.draws.inputs = inputs

    def get_state(self) -> dict[str, Any]:
        """The state of the environment, the generator of maps, and the running mean."""
        return {
            "env": self.env.get_state(),
            "generator": self.draws.get_state(),
            "running_mean": self.running_mean,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of `get_state`."""
        self.env.set_state(state["env"])
        self.draws.set_state(state["generator"])
        mean = state["running_mean"]
        self.running_mean = None if mean is None else mean.to(self.env.device)

    def last_batch(self) -> dict[str, torch.Tensor]:
        """The images, their numbers, the maps drawn for them and their scores."""
        return self._last

    def loss(self, progress: Progress = 0.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss of the first step on a new batch."""
        return next(iter(self.losses(progress)))
