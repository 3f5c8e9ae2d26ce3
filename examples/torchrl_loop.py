"""TorchRL: its environment wrapper, its distribution, a policy gradient on its data.

    python examples/torchrl_loop.py --updates 200

One scale of 8 x 8 cells; K maps of each image are compared with one another. TorchRL has the data
flow (specs, tensordicts), the loss is three lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
import tyro
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    TensorDictModule,
    TensorDictSequential,
)
from torch import nn
from torch.distributions import Categorical, Independent
from torchrl.envs.libs.gym import GymWrapper

import rss_env  # noqa: F401  (registers the ids)

_DRAW: Any = InteractionType.RANDOM  # (its members are strings to a type checker)


@dataclass
class Args:
    """A policy gradient with TorchRL."""

    env: str = "RSS/Shapes-ImageReward-v0"
    """Environment id."""
    image_size: int = 64
    """Side in pixels."""
    num_images: int = 8
    """Images in a batch."""
    group_size: int = 8
    """K maps of each image."""
    updates: int = 200
    """Batches."""
    learning_rate: float = 3e-3
    """Of Adam."""
    entropy: float = 0.02
    """Coefficient of a cell's entropy, in deviations of the score."""
    seed: int = 0
    """Of the network, the images and the maps."""


class Actor(nn.Module):
    """Logits (..., cells, C) of images (..., H, W, 3): three strides of 2 make cells of 8 x 8."""

    def __init__(self, num_classes: int):
        """Lay out the layers for C classes."""
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
                nn.GroupNorm(8, outputs),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(64, num_classes, 3, padding=1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of uint8 images."""
        batch = images.flatten(0, -4).permute(0, 3, 1, 2).float() / 255 - 0.5
        return self.layers(batch).flatten(2).transpose(1, 2).unflatten(0, images.shape[:-3])


class MapPolicy(Independent):
    """All cells of a map as one distribution."""

    def __init__(self, logits: torch.Tensor):
        """Take logits (..., cells, C)."""
        super().__init__(Categorical(logits=logits), 1)


def main() -> None:
    """Train."""
    args = tyro.cli(Args)
    torch.manual_seed(args.seed)
    vector: Any = gym.make_vec(
        args.env,
        num_envs=args.num_images * args.group_size,
        group_size=args.group_size,
        image_size=args.image_size,
        scales=(8,),
        array="torch",
    )
    num_classes = vector.unwrapped.geometry.num_classes
    env = GymWrapper(vector, categorical_action_encoding=True)
    env.set_seed(args.seed)
    actor = Actor(num_classes)
    modules: list[Any] = [
        TensorDictModule(actor, in_keys=["observation"], out_keys=["logits"]),
        ProbabilisticTensorDictModule(
            in_keys=["logits"],
            out_keys=["action"],
            distribution_class=MapPolicy,
            default_interaction_type=_DRAW,
        ),
    ]
    policy = TensorDictSequential(*modules)
    optimizer = torch.optim.Adam(actor.parameters(), args.learning_rate)
    data = env.reset()
    for update in range(1, args.updates + 1):
        with torch.no_grad():
            acted, following = env.step_and_maybe_reset(policy(data))
        rewards = acted["next", "reward"].view(args.num_images, args.group_size)
        advantages = rewards - rewards.mean(1, keepdim=True)
        advantages = (advantages / (advantages.std() + 1e-8)).flatten()
        chosen = Categorical(logits=actor(acted["observation"]))
        log_probabilities = chosen.log_prob(acted["action"]).mean(1)  # of a cell
        loss = -(advantages * log_probabilities).mean() - args.entropy * chosen.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        data = following
        if update % 20 == 0 or update == args.updates:
            print(f"update {update}: score {float(rewards.mean()):.3f}")
    env.close()


if __name__ == "__main__":
    main()
