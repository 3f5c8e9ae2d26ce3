"""PPO on action maps in one file: everything from the network to the update, to read and to change.

    python examples/ppo_from_scratch.py --env RSS/Shapes-ImageReward-v0 --updates 600

Environment and network share tensors; with `--device cuda` nothing crosses to the host but what is
printed. Three things differ from PPO as it is written for games:

- An episode is one step, so there is no discount, no bootstrapping and no advantage estimation over
  time. K maps of an image are scored side by side, and a map's baseline is the mean of the others.
- An action has thousands of cells, each a class of its own. The ratio of PPO would be a product
  over all of them and would leave any trust region at once: here every cell has one of its own,
  and is clipped by itself.
- The environment tells the score of each scale. A cell answers for the score of its own scale.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import torch.nn.functional as F
import tyro
from torch import nn
from torch.distributions import Categorical
from torch.utils.tensorboard.writer import SummaryWriter

import rss_env  # noqa: F401  (registers the ids)


@dataclass
class Args:
    """PPO on action maps."""

    env: str = "RSS/Shapes-ImageReward-v0"
    """Environment id."""
    root: str | None = None
    """Folder of the data set, if it needs one."""
    image_size: int = 64
    """Side in pixels."""
    scales: tuple[int, ...] = (8, 4, 2, 1)
    """Cell sizes, coarse to fine."""
    num_images: int = 8
    """Images in a batch."""
    group_size: int = 8
    """K maps of each image."""
    updates: int = 600
    """Batches."""
    epochs: int = 2
    """Steps on each batch."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    clip: float = 0.2
    """How far the probability of a cell's class may move, as a ratio less one."""
    entropy: float = 0.02
    """Coefficient of a cell's entropy, in deviations of the score."""
    evaluate_every: int = 100
    """Updates between evaluations."""
    seed: int = 0
    """Of the network, the images and the maps."""
    device: str = "cpu"
    """cpu, cuda, ..."""
    out: Path = Path("runs/ppo-from-scratch")
    """Folder of TensorBoard's events and the trained network."""


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, normalisation (of each image by itself, so that acting and learning agree)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU()
    )


class Actor(nn.Module):
    """A small U-Net: logits of every pixel, averaged over the cells of each scale."""

    def __init__(self, num_classes: int, grids: tuple[tuple[int, int], ...]):
        """Lay out the layers for C classes and the grids of the action maps."""
        super().__init__()
        self.grids = grids
        widths = (16, 32, 48)
        self.down = nn.ModuleList(
            nn.Sequential(block(i, o), block(o, o))
            for i, o in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(block(widths[i] + widths[i - 1], widths[i - 1]) for i in (2, 1))
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, C, H, W) of images (B, H, W, 3) uint8."""
        x = images.permute(0, 3, 1, 2).float() / 255 - 0.5
        skips = []
        for level, layer in enumerate(self.down):
            x = layer(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for layer, skip in zip(self.up, (skips[1], skips[0]), strict=True):
            x = layer(torch.cat([F.interpolate(x, skip.shape[-2:]), skip], 1))
        return self.head(x)

    def policies(self, images: torch.Tensor) -> list[Categorical]:
        """For each scale the distribution of its cells' classes, batch shape (B, cells)."""
        logits = self.pixels(images)
        pooled = [F.adaptive_avg_pool2d(logits, grid).flatten(2) for grid in self.grids]
        return [Categorical(logits=part.transpose(1, 2)) for part in pooled]


@torch.no_grad()
def evaluate(actor: Actor, env: gym.vector.VectorEnv, batches: int) -> float:
    """Mean reward of the most likely maps on an environment of other images."""
    images, _ = env.reset(seed=10_000)
    total = 0.0
    for _ in range(batches):
        modes = [policy.logits.argmax(-1) for policy in actor.policies(images)]
        images, rewards, _, _, _ = env.step(torch.cat(modes, 1))
        total += float(rewards.mean())
    return total / batches


def main() -> None:
    """Train."""
    args = tyro.cli(Args)
    torch.manual_seed(args.seed)
    num_envs = args.num_images * args.group_size
    common: dict[str, Any] = {
        "image_size": args.image_size,
        "scales": args.scales,
        "array": "torch",
    }
    common |= {"device": args.device} | ({} if args.root is None else {"root": args.root})
    env: Any = gym.make_vec(
        args.env, num_envs=num_envs, group_size=args.group_size, horizontal_flip=True, **common
    )
    judge = gym.make_vec(args.env, num_envs=50, split="val", **common)
    geometry = env.unwrapped.geometry
    actor = Actor(geometry.num_classes, geometry.grids).to(args.device)
    optimizer = torch.optim.AdamW(actor.parameters(), args.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.learning_rate, total_steps=args.updates * args.epochs + 2
    )
    args.out.mkdir(parents=True, exist_ok=True)
    board = SummaryWriter(str(args.out))
    observations, _ = env.reset(seed=args.seed)
    start = time.perf_counter()
    for update in range(1, args.updates + 1):
        # Rollout: K maps of each image, one call of the network for each image.
        images = observations[:: args.group_size]  # (B, H, W, 3)
        with torch.no_grad():
            policies = actor.policies(images)
            maps = [policy.sample((args.group_size,)).transpose(0, 1) for policy in policies]
            drawn = [
                policy.log_prob(part.transpose(0, 1)).transpose(0, 1)
                for policy, part in zip(policies, maps, strict=True)
            ]  # log-probabilities (B, K, cells) of each scale, as the maps
        actions = torch.cat([part.flatten(0, 1) for part in maps], 1)
        observations, rewards, _, _, infos = env.step(actions)

        # Advantages: each scale's scores against those of the image's other maps.
        scores = infos["final_info"]["scale_scores"].unflatten(0, (-1, args.group_size))
        advantages = scores - scores.mean(1, keepdim=True)  # (B, K, S)
        advantages = advantages / (advantages.std((0, 1), keepdim=True) + 1e-8)

        # Update: clipped steps on the batch.
        entropy = clipped = torch.zeros(())
        for _ in range(args.epochs):
            policies = actor.policies(images)
            gains, entropies, outside = [], [], []
            for scale, (policy, part, before) in enumerate(zip(policies, maps, drawn, strict=True)):
                now = policy.log_prob(part.transpose(0, 1)).transpose(0, 1)
                ratio = (now - before).exp()
                advantage = advantages[..., scale, None]
                bounded = ratio.clamp(1 - args.clip, 1 + args.clip)
                gains.append(torch.minimum(ratio * advantage, bounded * advantage).mean())
                entropies.append(policy.entropy().mean())
                outside.append((ratio != bounded).float().mean())
            gain, entropy = torch.stack(gains).mean(), torch.stack(entropies).mean()
            clipped = torch.stack(outside).mean()
            optimizer.zero_grad()
            (-gain - args.entropy * entropy).backward()
            nn.utils.clip_grad_norm_(actor.parameters(), 0.5)
            optimizer.step()
            schedule.step()

        if update % 10 == 0 or update == args.updates:
            board.add_scalar("score", float(rewards.mean()), update)
            board.add_scalar("entropy", float(entropy.detach()), update)
            board.add_scalar("clipped", float(clipped), update)
        if update % args.evaluate_every == 0 or update == args.updates:
            score = evaluate(actor, judge, 4)
            board.add_scalar("validation score", score, update)
            seconds = time.perf_counter() - start
            print(
                f"update {update}: score {float(rewards.mean()):.3f}, validation {score:.3f}, "
                f"{update * num_envs / seconds:,.0f} maps a second"
            )
    board.close()
    torch.save(actor.state_dict(), args.out / "actor.pt")
    env.close()
    judge.close()


if __name__ == "__main__":
    main()
