"""Learn from a recorded data set alone: off-policy, by inverse propensity or doubly robust.

    rss-data record shapes/uniform-v0 --metric pixel_accuracy --image-size 32 --scales 4 \
        --episodes 8000
    python examples/off_policy.py --data shapes/uniform-v0 --estimator dr

Nothing is scored while it learns, but a validation split at the end. What was drawn with
probability mu and scored r says what another policy, pi, would have earned: r pi / mu in the mean
(`ipw`). Three things differ from the contextual bandits of textbooks:

- An action has hundreds of cells. The ratio pi / mu of a whole map is a product over all of them:
  nearly always 0, now and then huge, its mean has no useful variance. Here every cell has a ratio
  of its own, which says what the score becomes if that cell follows pi and all others stay as they
  were recorded. That is exact for one cell, and where scores add up over cells (pixel accuracy);
  elsewhere it is a first step from mu, and maps recorded with what was learned allow the next.
- Ratios are clipped, and the estimate is divided by the mean ratio ("self-normalised", Swaminathan
  and Joachims, NeurIPS 2015), so that scores may be shifted by any baseline.
- The doubly robust estimate (`dr`; Dudik, Langford and Li, ICML 2011) has a second network predict
  the score as a sum over cells. It believes the prediction for all classes, and corrects it by the
  ratio times what the prediction misses: less variance, as the other cells' share is explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import tyro

from rss_agents.kernels.pool_cells import pool_cells
from rss_agents.networks.build import build_network
from rss_env import RSSVectorEnv
from rss_env.interactions import Interactions, load_interactions


@dataclass
class Args:
    """Learn off-policy."""

    data: str
    """Minari's id of a data set that rss-data record wrote, at image level."""
    estimator: Literal["ipw", "dr"] = "dr"
    """Inverse propensity weighting, or doubly robust."""
    updates: int = 600
    """Steps of the optimiser."""
    batch_size: int = 32
    """Episodes in a step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    clip: float = 5.0
    """Largest ratio of probabilities."""
    entropy: float = 0.1
    """Coefficient of a cell's entropy, in deviations of the score."""
    val_split: str = "val"
    """Split to be evaluated on: a name or a list file."""
    seed: int = 0
    """Of the networks and the batches."""


def advantages_of(recorded: Interactions) -> torch.Tensor:
    """Scores (N, S) of each scale less the mean of the image's maps, in deviations."""
    scores = torch.from_numpy(recorded.infos["scale_scores"])
    index = torch.from_numpy(recorded.image_index)
    images = recorded.environment.num_images
    sums = torch.zeros(images, scores.shape[1]).index_add_(0, index, scores)
    means = sums / torch.bincount(index, minlength=images).clamp(min=1)[:, None]
    centred = scores - means[index]
    return centred / (centred.std(0) + 1e-8)


def learn(args: Args, recorded: Interactions) -> torch.nn.Module:
    """Train a network on recorded episodes."""
    torch.manual_seed(args.seed)
    env = recorded.environment
    geometry, is_robust = env.geometry, args.estimator == "dr"
    size, classes = env.image_size, geometry.num_classes
    policy_network = build_network("tiny-unet-silu", classes, size)
    score_network = build_network("tiny-unet-silu", classes, size) if is_robust else None
    networks = [policy_network] if score_network is None else [policy_network, score_network]
    parameters = [weights for network in networks for weights in network.parameters()]
    optimizer = torch.optim.AdamW(parameters, args.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.learning_rate, total_steps=args.updates + 1
    )
    advantages, index = advantages_of(recorded), torch.from_numpy(recorded.image_index)
    actions = torch.from_numpy(recorded.actions)
    propensities = torch.from_numpy(recorded.cell_log_propensities).exp()
    for update in range(1, args.updates + 1):
        batch = torch.randint(len(recorded), (args.batch_size,))
        images, drawn = env.images_of(index[batch]), actions[batch, None].long()
        policy = pool_cells(policy_network(images).softmax(1), geometry.scales).clamp(min=1e-8)
        ratios = (policy.gather(1, drawn)[:, 0] / propensities[batch]).clamp(max=args.clip)
        entropy = -(policy * policy.log()).sum(1)
        worth = torch.zeros_like(policy)  # of each class of each cell
        if score_network is not None:
            worth = pool_cells(score_network(images), geometry.scales)
        gains, losses = [], []
        parts = (policy, worth, worth.gather(1, drawn)[:, 0], ratios, entropy)
        for scale, (probabilities, values, of_drawn, ratio, spread) in enumerate(
            zip(*(geometry.split(part) for part in parts), strict=True)
        ):
            # A cell moves the score of its scale by about 1 / sqrt(cells) of a deviation.
            unit = ratio.shape[1] ** 0.5
            missed = advantages[batch, scale] - of_drawn.sum(1) / unit
            losses.append(missed.square().mean())
            weighted = (ratio * missed.detach()[:, None]).sum() / ratio.sum()
            direct = (probabilities * values.detach()).sum(1).mean()
            gains.append(direct + unit * (weighted + args.entropy * spread.mean()))
        loss = -torch.stack(gains).mean()
        if is_robust:
            loss = loss + torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if update % max(1, args.updates // 5) == 0:
            print(
                f"update {update}: estimated gain {float(torch.stack(gains).mean().detach()):.3f}, "
                f"mean ratio {float(ratios.detach().mean()):.2f}"
            )
    return policy_network.eval()


@torch.no_grad()
def evaluate(network: torch.nn.Module, recorded: Interactions, split: str | None) -> float:
    """Mean score of the most likely maps for 200 images of a split; asked for here only."""
    env = RSSVectorEnv(200, **recorded.arguments | {"split": split}, array="torch")
    images, _ = env.reset(seed=10_000)
    maps = pool_cells(network(images).softmax(1), env.geometry.scales).argmax(1)
    return float(env.step(maps)[1].mean())


def main() -> None:
    """Read, learn, evaluate."""
    args = tyro.cli(Args)
    recorded = load_interactions(args.data)
    if "scale_scores" not in recorded.infos:
        raise SystemExit(f"{args.data} has rewards of cells: record at image level")
    print(f"{len(recorded)} episodes, mean score {recorded.scores.mean():.3f}")
    network = learn(args, recorded)
    score = evaluate(network, recorded, args.val_split)
    print(f"learned by {args.estimator}: mean validation score {score:.3f}")


if __name__ == "__main__":
    main()
