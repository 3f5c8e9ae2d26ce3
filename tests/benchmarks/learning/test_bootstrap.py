"""Intervals of ratios, paired by image."""

from __future__ import annotations

import numpy as np

from benchmarks.learning.bootstrap import paired_ratio_interval


def counts(images: int, share: float) -> np.ndarray:
    """A method that gets a share of every class right, the rest being the other class."""
    labelled = np.random.default_rng(0).integers(100, 1000, (images, 2))
    right = (labelled * share).astype(np.int64)
    predicted = right + (labelled - right)[:, ::-1]
    return np.stack([right, predicted, labelled])


def test_the_interval_of_a_ratio_is_paired():
    """Both are measured on the same images: where one is a copy of the other, all is certain."""
    good, bad = counts(20, 0.9), counts(20, 0.5)
    assert paired_ratio_interval([good], [good]) == (1.0, 1.0)
    low, high = paired_ratio_interval([good, good], [bad, good])
    assert 1.0 < low < high < 2.0
    few, many = (paired_ratio_interval([counts(n, 0.9)], [counts(n, 0.5)]) for n in (4, 400))
    assert few[1] - few[0] > many[1] - many[0]
