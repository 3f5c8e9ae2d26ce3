"""How sure are the scores of a few runs? Intervals and performance profiles, by rliable.

Source: Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice",
2021, and their library.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from rliable import library, metrics

Array = npt.NDArray[np.float64]
_DRAWS = 2000  # of the bootstrap
THRESHOLDS = np.linspace(0.0, 1.0, 41)  # of normalised scores


def _with_intervals(
    scores: Mapping[str, Array], function: Callable[[Array], Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """A function of (runs, suites) scores of each algorithm, and the ends of its 95% intervals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of how rliable calls arch
        return library.get_interval_estimates(
            dict(scores), function, reps=_DRAWS, random_state=np.random.RandomState(0)
        )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Ends of the 95% interval of the mean over runs, by percentile bootstrap."""
    _, ends = _with_intervals(
        {"": np.array(values)[:, None]}, lambda runs: np.array([metrics.aggregate_mean(runs)])
    )
    return float(ends[""][0, 0]), float(ends[""][1, 0])


def profiles(scores: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Share of runs above each of `THRESHOLDS`, by algorithm.

    Args:
        scores: (runs, suites) normalised scores of each algorithm.

    Returns:
        Profiles (thresholds,), and the ends of their 95% bands (2, thresholds), by the bootstrap
        over the runs of each suite.
    """
    return _with_intervals(scores, lambda runs: (runs[..., None] > THRESHOLDS).mean((0, 1)))
