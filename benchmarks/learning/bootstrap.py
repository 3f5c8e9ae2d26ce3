"""How sure is a ratio of two methods on few validation images?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import bootstrap

from benchmarks.learning.runs import Run
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.networks.evaluation import count_split, metrics_from_counts
from rss_env.scenes import Scenes

Counts = npt.NDArray[np.int64]


def image_counts(run: Run, scenes: Scenes) -> Counts:
    """True positives, predicted and labelled pixels of a trained network: (3, M, C)."""
    network, _ = load_checkpoint(run.folder, torch.device("cpu"))
    with torch.no_grad():
        counts = count_split(scenes, network.predict)
    return np.stack([part.numpy() for part in counts])


def _miou(counts: npt.NDArray[np.int64]) -> float:
    """Mean IoU from summed counts (3, C)."""
    return metrics_from_counts(*torch.from_numpy(counts)[:, None].unbind()).miou


def paired_ratio_interval(
    numerator: Sequence[Counts], denominator: Sequence[Counts], *, draws: int = 2000
) -> tuple[float, float]:
    """95% bootstrap interval of the ratio of two methods' mean mIoU, over the validation images.

    Both methods are measured on the same images in every draw, and a method's mIoU is averaged over
    its seeds; so the interval is of the images alone.

    Args:
        numerator: Counts (3, M, C) of each seed of one method.
        denominator: Of the other.
        draws: Bootstrap samples of M images with replacement.

    Returns:
        Lower and upper end (percentiles).
    """

    def ratio(images: npt.NDArray[np.int64]) -> float:
        means = [
            np.mean([_miou(counts[:, images].sum(1)) for counts in seeds])
            for seeds in (numerator, denominator)
        ]
        return float(means[0] / means[1])

    images = np.arange(numerator[0].shape[1])
    found = bootstrap(
        (images,), ratio, n_resamples=draws, vectorized=False, method="percentile", rng=0
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
