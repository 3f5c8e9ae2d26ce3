"""Fitting a judge: networks apart, each on its own draw of the images, and checked on others."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from tqdm import tqdm

from rss_agents.quality.examples import Examples
from rss_agents.quality.fitting_config import FittingConfig
from rss_agents.quality.learned_judge import JudgeDescription, LearnedJudge
from rss_agents.quality.network import QualityNetwork
from rss_env.errors import InputError

_LEAST_IMAGES = 4
_DOUBT_QUANTILE = 0.95


@dataclass(frozen=True)
class JudgeReport:
    """How well a judge predicts the scores of maps of images that were held out.

    Attributes:
        maps, images: Number of scored maps, and of images.
        held_out_maps: Number of maps it was checked on.
        correlation: Of its scores with the given ones.
        rank_correlation: Of their ranks.
        error: Root of the mean squared difference.
        spread: Deviation of the given scores: the error of a judge that knows nothing.
    """

    maps: int
    images: int
    held_out_maps: int
    correlation: float
    rank_correlation: float
    error: float
    spread: float


def fit_judge(
    examples: Examples, num_classes: int, config: FittingConfig
) -> tuple[LearnedJudge, JudgeReport]:
    """Fit a judge to scored maps.

    Args:
        examples: The maps.
        num_classes: C.
        config: How it is fitted.

    Raises:
        InputError: If there are too few images, a map has another class, or all scores are alike.
    """
    config.check()
    images = len(examples.images)
    if images < _LEAST_IMAGES:
        raise InputError(
            f"a judge needs scored maps of at least {_LEAST_IMAGES} images, got {images}"
        )
    if int(examples.action_maps.max()) >= num_classes:
        raise InputError(
            f"a map has class {int(examples.action_maps.max())}, there are {num_classes} classes"
        )
    if examples.scores.max() == examples.scores.min():
        raise InputError(f"all scores are {examples.scores[0]:g}: there is nothing to learn")
    generator = torch.Generator().manual_seed(config.seed)
    order = torch.randperm(images, generator=generator)
    count = min(max(round(config.held_out * images), 1), images - 1)
    apart = torch.zeros(images, dtype=torch.bool)
    apart[order[:count]] = True
    fitted, held_out = examples.of_images(~apart), examples.of_images(apart)
    networks = [
        _fit_network(fitted, num_classes, config, config.seed + number)
        for number in tqdm(range(config.members), desc="networks", unit="network")
    ]
    size = (int(examples.images.shape[1]), int(examples.images.shape[2]))
    judge = LearnedJudge(networks, JudgeDescription(num_classes, size, config.members))
    judge, told = _calibrate(judge, held_out)
    return judge, JudgeReport(
        len(examples),
        images,
        len(held_out),
        _correlation(told, held_out.scores),
        _correlation(_ranks(told), _ranks(held_out.scores)),
        float((told - held_out.scores).square().mean().sqrt()),
        float(held_out.scores.std(correction=0)),
    )


def _fit_network(
    examples: Examples, num_classes: int, config: FittingConfig, seed: int
) -> QualityNetwork:
    """One network, fitted to maps of as many images, drawn with replacement."""
    generator = torch.Generator().manual_seed(seed)
    shown = examples.index.unique()
    drawn = shown[torch.randint(len(shown), (len(shown),), generator=generator)]
    times = torch.bincount(drawn, minlength=len(examples.images))
    weights = times[examples.index].double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = QualityNetwork(num_classes)
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps + 2
    )
    for _ in range(config.steps):
        rows = torch.multinomial(weights, config.batch, replacement=True, generator=generator)
        images, maps = examples.images[examples.index[rows]], examples.action_maps[rows]
        flip = torch.rand(config.batch, generator=generator) < 0.5
        images = torch.where(flip.view(-1, 1, 1, 1), images.flip(2), images)
        maps = torch.where(flip.view(-1, 1, 1), maps.flip(2), maps)
        loss = F.binary_cross_entropy_with_logits(network(images, maps), examples.scores[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


def _calibrate(judge: LearnedJudge, held_out: Examples) -> tuple[LearnedJudge, torch.Tensor]:
    """The same networks, read so that their scores are right on average; and those scores."""
    images = held_out.images[held_out.index]
    told, doubt = judge.judge(images, held_out.action_maps)
    told, given = told.double(), held_out.scores.double()
    spread = told.var(correction=0)
    slope = float(((told - told.mean()) * (given - given.mean())).mean() / spread.clamp(min=1e-9))
    slope = min(max(slope, 0.0), 2.0)  # a judge that is wrong about everything knows nothing
    calibrated = copy.copy(judge)
    calibrated.description = replace(
        judge.description,
        slope=slope,
        intercept=float(given.mean() - slope * told.mean()),
        most_doubt=float((slope * doubt).quantile(_DOUBT_QUANTILE)),
    )
    return calibrated, calibrated.judge(images, held_out.action_maps)[0]


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks (N,), those of ties alike: their mean."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    return ((2 * ends - counts - 1) / 2).float()[inverse]


def _correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Pearson's correlation; 0 if either does not vary."""
    return float(torch.corrcoef(torch.stack([one, other]).double())[0, 1].nan_to_num())
