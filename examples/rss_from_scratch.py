"""The three parts of RSS in one file: learn to segment from scores of maps, without any label.

    python examples/rss_from_scratch.py --env RSS/Shapes-ImageReward-v0 --updates 600

Our reading of the names in "Semantic segmentation with reward" (arXiv 2505.17905), whose equations
were not known to us, as a policy gradient:

- PSR, progressive scale rewards: an image is answered by one map a scale, from coarse to fine; each
  map has a score of its own, and each scale a loss of its own.
- PSD, pair-wise spatial difference: two maps of one image owe the difference of their scores to the
  cells in which they differ, and nowhere else.
- SyncAN, synchronised advantage normalisation: advantages are divided by one deviation, of all
  images and scales of the first batch, and so is the entropy beside them.

Each can be switched off (`--no-psr`, `--no-psd`, `--no-syncan`). Environment and network share
tensors; with `--device cuda` nothing crosses to the host but what is printed.
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

import rss_env  # noqa: F401  (registers the ids)


@dataclass
class Args:
    """PSR, PSD and SyncAN."""

    env: str = "RSS/Shapes-ImageReward-v0"
    """Environment id."""
    root: str | None = None
    """Folder of the data set, if it needs one."""
    image_size: int = 64
    """Side in pixels."""
    scales: tuple[int, ...] = (8, 4, 2, 1)
    """Cell sizes, coarse to fine."""
    num_images: int = 16
    """Images in a batch."""
    group_size: int = 8
    """K maps of each image and scale."""
    updates: int = 600
    """Batches."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    exploration: float = 0.2
    """Share of uniformly random classes at the start; it falls to a tenth of it."""
    entropy: float = 0.5
    """Weight of a cell's entropy at the start, in score per cell; it falls to a tenth of it."""
    psr: bool = True
    """Answer at every scale; otherwise at the finest one alone."""
    psd: bool = True
    """Compare maps where they differ; otherwise each with the mean of the others, everywhere."""
    syncan: bool = True
    """Divide by the deviation of the first advantages."""
    evaluate_every: int = 100
    """Updates between evaluations."""
    seed: int = 0
    """Of the network, the images and the maps."""
    device: str = "cpu"
    """cpu, cuda, ..."""
    out: Path = Path("runs/rss-from-scratch")
    """Folder of the trained network."""


# --- the network ---


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution, normalisation over the batch, SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
    )


class UNet(nn.Module):
    """Logits (B, C, H, W) of images (B, H, W, 3) uint8."""

    def __init__(self, num_classes: int, widths: tuple[int, ...] = (16, 32, 48)):
        """Lay out the layers for C classes."""
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(block(i, o), block(o, o))
            for i, o in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            block(widths[i] + widths[i - 1], widths[i - 1]) for i in range(len(widths) - 1, 0, -1)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Down, and up again beside what was seen on the way down."""
        x = images.permute(0, 3, 1, 2).float() / 255 - 0.5
        skips = []
        for level, layer in enumerate(self.down):
            x = layer(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for layer, skip in zip(self.up, skips[-2::-1], strict=True):
            x = layer(torch.cat([F.interpolate(x, skip.shape[-2:]), skip], 1))
        return self.head(x)


# --- the three parts ---


def policies(
    logits: torch.Tensor, grids: tuple[tuple[int, int], ...], explored: float
) -> list[torch.Tensor]:
    """PSR: for each scale the probabilities (B, C, cells) of its cells' classes.

    A cell's are the mean of its pixels', mixed with a share `explored` of the uniform distribution.
    """
    pixels = logits.softmax(1)
    cells = [F.adaptive_avg_pool2d(pixels, grid).flatten(2) for grid in grids]
    return [(1 - explored) * part + explored / logits.shape[1] for part in cells]


def pairwise_advantages(maps: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """PSD: advantages (B, K, cells) of maps (B, K, cells) with scores (B, K).

    Against each other map the difference of scores, over the share of cells in which they differ;
    in those cells alone. The mean over the others.
    """
    total = torch.zeros(maps.shape, device=maps.device)
    for other in range(1, maps.shape[1]):  # each map beside each other one, without K x K x cells
        differs = maps != maps.roll(other, 1)
        share = differs.float().mean(2).clamp(min=1 / maps.shape[2])
        total += differs * ((scores - scores.roll(other, 1)) / share)[..., None]
    return total / (maps.shape[1] - 1)


def leave_one_out(maps: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Without PSD: every cell of a map has its score less the mean of the others."""
    others = (scores.sum(1, keepdim=True) - scores) / (scores.shape[1] - 1)
    return (scores - others)[..., None].expand(maps.shape)


def scale_objective(
    probabilities: torch.Tensor, maps: torch.Tensor, advantages: torch.Tensor, entropy: float
) -> torch.Tensor:
    """What the score-function gradient of one scale rises on, and the entropy of its cells."""
    log_probabilities = probabilities.clamp(min=1e-12).log()
    drawn = log_probabilities.gather(1, maps)  # (B, K, cells), of the classes that were drawn
    cell_entropy = -(probabilities * log_probabilities).sum(1).mean()
    return (advantages * drawn).mean() + entropy * cell_entropy


def deviation(advantages: list[torch.Tensor]) -> torch.Tensor:
    """SyncAN: root mean square of the advantages of all scales, where maps differ."""
    values = torch.cat([part.flatten() for part in advantages])
    return (values.square().sum() / (values != 0).sum().clamp(min=1)).sqrt().clamp(min=1e-6)


# --- training ---


@torch.no_grad()
def evaluate(network: UNet, env: gym.vector.VectorEnv, grids: Any, batches: int) -> float:
    """Mean score of the most likely maps at the finest scale on other images."""
    network.eval()
    images, _ = env.reset(seed=10_000)
    total = 0.0
    for _ in range(batches):
        cells = policies(network(images), grids, 0.0)
        images, _, _, _, infos = env.step(torch.cat([part.argmax(1) for part in cells], 1))
        total += float(infos["final_info"]["scale_scores"][:, -1].mean())
    network.train()
    return total / batches


def main() -> None:
    """Train."""
    args = tyro.cli(Args)
    torch.manual_seed(args.seed)
    scales = args.scales if args.psr else args.scales[-1:]
    common: dict[str, Any] = {"image_size": args.image_size, "scales": scales, "array": "torch"}
    common |= {"device": args.device} | ({} if args.root is None else {"root": args.root})
    size = args.group_size
    env: Any = gym.make_vec(
        args.env, args.num_images * size, group_size=size, horizontal_flip=True, **common
    )
    judge = gym.make_vec(args.env, 50, split="val", **common)
    geometry = env.unwrapped.geometry
    network = UNet(geometry.num_classes).to(args.device)
    optimizer = torch.optim.AdamW(network.parameters(), args.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.learning_rate, total_steps=args.updates + 2
    )
    unit = None
    observations, _ = env.reset(seed=args.seed)
    start = time.perf_counter()
    for update in range(1, args.updates + 1):
        progress = update / args.updates
        falling = 0.1**progress
        images = observations[::size]  # neighbours see the same image, and the network sees it once
        cells = policies(network(images), geometry.grids, args.exploration * (1 - 0.9 * progress))
        with torch.no_grad():
            # Classes by comparing a uniform number with the cumulative probabilities.
            joint = torch.cat(cells, 2)  # (B, C, cells of all scales)
            steps = joint.cumsum(1)[:, None, :-1]
            uniform = torch.rand(len(images), size, 1, joint.shape[2], device=args.device)
            maps = (uniform > steps).sum(2)  # (B, K, cells)
        observations, rewards, _, _, infos = env.step(maps.flatten(0, 1))
        scores = infos["final_info"]["scale_scores"].unflatten(0, (-1, size))  # (B, K, scales)
        grids = geometry.split(maps)
        advantages = [  # times the cells, as each decides about so little of a score
            (pairwise_advantages if args.psd else leave_one_out)(part, score) * part.shape[2]
            for part, score in zip(grids, scores.unbind(-1), strict=True)
        ]
        parts = zip(cells, grids, advantages, strict=True)
        objectives = [scale_objective(*part, args.entropy * falling) for part in parts]
        loss = -torch.stack(objectives).mean()
        if args.syncan:
            unit = deviation(advantages) if unit is None else unit
            loss = loss / unit
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if update % args.evaluate_every == 0 or update == args.updates:
            score = evaluate(network, judge, geometry.grids, batches=4)
            print(
                f"update {update}: score {float(rewards.mean()):.3f}, on other images {score:.3f}, "
                f"{update * maps[..., 0].numel() * len(scales):,} scores asked for, "
                f"{time.perf_counter() - start:.0f} s"
            )
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), args.out / "network.pt")


if __name__ == "__main__":
    main()
