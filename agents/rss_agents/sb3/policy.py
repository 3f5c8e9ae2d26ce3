"""A fully convolutional actor-critic for action maps, with the networks of the other agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.networks.build import build_network
from rss_agents.networks.names import DEFAULT_NETWORK
from rss_agents.networks.segmentation_network import upsample
from rss_agents.networks.trial import training_failure
from rss_agents.sb3.distribution import MapCategoricalDistribution
from rss_env.action_maps import ActionMapGeometry, default_scales
from rss_env.errors import InputError, check_choice

LOG_PROBABILITIES = ("mean", "sum")
_CRITIC_STRIDE = 4  # of the pooling in front of the critic's convolutions, in pixels


class PooledCritic(nn.Module):
    """Expected score: convolutions of the image and of the policy, averaged over the image.

    It does not teach the actor: the policy's probabilities come in detached.
    """

    def __init__(self, num_classes: int, widths: tuple[int, int] = (32, 64)):
        """Lay out the layers for C classes, with so many channels of the convolutions."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3 + num_classes, widths[0], 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(widths[0], widths[1], 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(widths[1], 1)

    def forward(self, images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Values (B, 1) of images (B, 3, H, W) uint8 and logits (B, C, H, W)."""
        seen = torch.cat([images.float() / 255.0, logits.detach().softmax(1)], 1)
        pooled = F.avg_pool2d(seen, _CRITIC_STRIDE, ceil_mode=True)
        return self.head(self.body(pooled).mean((2, 3)))


class MapActorCriticPolicy(ActorCriticPolicy):
    """The policy class to give to SB3's `PPO` and `A2C`.

    A segmentation network gives logits of every pixel; averaged over the cells of each scale they
    are the logits of the action map, all cells being one batched categorical distribution.

    Acting and learning normalise batches alike. SB3 draws actions in evaluation mode, where batch
    normalisation would make another policy of the same weights, and the ratios of `PPO` would not
    begin at 1; so `forward`, which only draws for learning, uses the batch's own statistics, as
    learning does. `predict` uses the running ones.

    Attributes:
        network: uint8 images (B, H, W, 3) to logits (B, C, H, W); the result of training.
        geometry: The action maps' grids.
    """

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        *,
        network: str = DEFAULT_NETWORK,
        pretrained: bool = False,
        scales: Sequence[int] | None = None,
        log_probability: Literal["mean", "sum"] = "mean",
        **arguments: Any,
    ):
        """Build network, critic and optimiser.

        Args:
            observation_space: Images, (3, H, W) uint8 as SB3 turns them.
            action_space: MultiDiscrete, one number of classes for all cells.
            lr_schedule: Learning rate by the share of training that is left.
            network: Name for `rss_agents.networks.build.build_network`.
            pretrained: Whether its encoder starts from ImageNet weights.
            scales: Cell sizes of the environment; None for the default of the image size.
            log_probability: `sum`, of all cells, as SB3 has it: the ratios of `PPO` are then
                products over thousands of cells, nearly all of them clipped after one step. `mean`:
                over each scale's cells, then over scales; ratios are of a typical cell, and the
                entropy is in nats per cell. Scales then share the learning evenly, however many
                cells they have.
            **arguments: Of SB3's `ActorCriticPolicy`; those of its own layers have no effect.

        Raises:
            InputError: If the spaces are not of action maps, or an argument is invalid.

        Source: the likelihood ratio normalised by length is that of Zheng et al., "Group sequence
        policy optimization" (arXiv 2507.18071), there of tokens.
        """
        check_choice("log_probability", log_probability, LOG_PROBABILITIES)
        self.network_name, self.pretrained = network, pretrained
        self.log_probability: Literal["mean", "sum"] = log_probability
        self.geometry = _geometry(observation_space, action_space, scales)
        super().__init__(observation_space, action_space, lr_schedule, **arguments)

    def _build(self, lr_schedule: Schedule) -> None:
        """Create the networks and the optimiser in place of SB3's."""
        geometry = self.geometry
        self.action_dist = MapCategoricalDistribution(
            [geometry.num_classes] * geometry.num_cells,
            geometry.cells if self.log_probability == "mean" else None,
        )
        classes, size = geometry.num_classes, geometry.image_size
        self.network = build_network(self.network_name, classes, size, pretrained=self.pretrained)
        # Batch normalisation may need two images, and what is drawn may be one image twice.
        self._least_images = 1 if training_failure(self.network, 1, size) is None else 2
        self.critic = PooledCritic(classes)
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "network": self.network_name,
            "scales": self.geometry.scales,
            "log_probability": self.log_probability,
        }

    def _logits(self, observations: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) of images (B, 3, H, W); a group's image passes the network once."""
        different, place = observations.flatten(1).unique(dim=0, return_inverse=True)
        if self.network.training and len(different) < self._least_images:
            different = different.repeat(self._least_images, 1)
        images = different.unflatten(1, observations.shape[1:])
        logits = self.network(images.permute(0, 2, 3, 1))
        return upsample(logits, images.shape[2:])[place]

    def _distribution(self, logits: torch.Tensor) -> MapCategoricalDistribution:
        """The policy of pixels' logits (B, C, H, W), averaged over the cells."""
        assert isinstance(self.action_dist, MapCategoricalDistribution)
        cells = pool_cells(logits, self.geometry.scales)
        return self.action_dist.proba_distribution(cells)

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Act for learning.

        Args:
            obs: (B, 3, H, W) uint8.
            deterministic: Whether to take the most likely classes instead of drawing.

        Returns:
            Actions (B, cells) int64, values (B, 1), log-probabilities (B,).
        """
        was_training = self.network.training
        self.network.train()
        logits = self._logits(obs)
        self.network.train(was_training)
        distribution = self._distribution(logits)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.critic(obs, logits), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: PyTorchObs, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Values (B, 1), log-probabilities and entropies (B,) of actions (B, cells)."""
        assert isinstance(obs, torch.Tensor)
        logits = self._logits(obs)
        distribution = self._distribution(logits)
        return self.critic(obs, logits), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: PyTorchObs) -> MapCategoricalDistribution:
        """The policy for observations (B, 3, H, W)."""
        assert isinstance(obs, torch.Tensor)
        return self._distribution(self._logits(obs))

    def predict_values(self, obs: PyTorchObs) -> torch.Tensor:
        """Values (B, 1) of observations (B, 3, H, W)."""
        assert isinstance(obs, torch.Tensor)
        return self.critic(obs, self._logits(obs))


def _geometry(
    observation_space: spaces.Space, action_space: spaces.Space, scales: Sequence[int] | None
) -> ActionMapGeometry:
    """The grids of the spaces' action maps.

    Raises:
        InputError: If the spaces are of something else, or scales do not fit.
    """
    if isinstance(observation_space, spaces.Dict):
        raise InputError(
            "MapActorCriticPolicy is for episodes of one step, whose observations are images; for "
            f"{list(observation_space)} take SB3's MultiInputPolicy"
        )
    shape = observation_space.shape
    if observation_space.dtype != np.uint8:
        raise InputError(
            f"observations must be images of uint8, got {observation_space.dtype}: the policy "
            "normalises them itself, so give VecNormalize norm_obs=False"
        )
    if shape is None or len(shape) != 3 or shape[0] != 3:
        raise InputError(f"observations must be images of shape (3, H, W), got {shape}")
    if not isinstance(action_space, spaces.MultiDiscrete) or action_space.nvec.ndim != 1:
        raise InputError(f"actions must be a flat MultiDiscrete, got {action_space}")
    size = (shape[1], shape[2])
    geometry = ActionMapGeometry(
        size, default_scales(size) if scales is None else scales, int(action_space.nvec[0])
    )
    if geometry.num_cells != len(action_space.nvec):
        raise InputError(
            f"scales {geometry.scales} have {geometry.num_cells} cells and the actions "
            f"{len(action_space.nvec)}: give policy_kwargs={{'scales': ...}} as the environment's"
        )
    return geometry
