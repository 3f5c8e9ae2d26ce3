from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rss_env.errors import InputError
from rss_env.rewards import METRICS, class_scores, metrics_of_classes, score_counts


def score(metric: str, prediction: np.ndarray, label: np.ndarray, classes: int) -> float:
    """Score one map by counting on the spot."""
    valid = label != 255
    masks = [(prediction == c, label == c) for c in range(classes)]
    right = torch.tensor([(p & t).sum() for p, t in masks])
    predicted = torch.tensor([(p & valid).sum() for p, _ in masks])
    labelled = torch.tensor([t.sum() for _, t in masks])
    return float(score_counts(metric, right, predicted, labelled))


PREDICTION = np.array([0, 0, 1, 1, 2, 1])
LABEL = np.array([0, 0, 0, 1, 1, 255])
# class 0: 2 right of 2 predicted, 3 labelled; class 1: 1 of 2 and 2 (void is left out);
# class 2: 0 of 1 and 0; class 3 stands in neither.


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("miou", (2 / 3 + 1 / 3 + 0) / 3),
        ("dice", (4 / 5 + 2 / 4 + 0) / 3),
        ("mean_accuracy", (2 / 3 + 1 / 2) / 2),
        ("pixel_accuracy", 3 / 5),
    ],
)
def test_metrics_by_hand(metric, expected):
    assert score(metric, PREDICTION, LABEL, 4) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("metric", METRICS)
def test_extremes(metric):
    label = np.array([0, 1, 1, 2])
    assert score(metric, label, label, 3) == 1.0
    assert score(metric, np.array([1, 0, 0, 0]), label, 3) == 0.0
    assert score(metric, label, np.full(4, 255), 3) == 0.0


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(METRICS)), st.integers(2, 5), st.integers(0, 10_000))
def test_one_right_pixel_turned_wrong_never_raises_a_score(metric, classes, seed):
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, 12)
    label[random.random(12) < 0.2] = 255
    prediction = np.where(random.random(12) < 0.7, label % 255, random.integers(0, classes, 12))
    prediction[label == 255] = 0
    right = np.flatnonzero(prediction == label)
    if not len(right):
        return
    pixel = random.choice(right)
    mutated = prediction.copy()
    mutated[pixel] = (mutated[pixel] + random.integers(1, classes)) % classes
    assert score(metric, mutated, label, classes) <= score(metric, prediction, label, classes)


@pytest.mark.parametrize("metric", metrics_of_classes())
def test_a_score_is_the_mean_of_its_classes(metric):
    counts = torch.randint(0, 20, (3, 50, 6))
    counts[:, :, 2] = 0
    right = counts.min(0).values
    of_classes = class_scores(metric, right, counts[1], counts[2])
    assert of_classes[:, 2].isnan().all()
    torch.testing.assert_close(
        of_classes.nanmean(1), score_counts(metric, right, counts[1], counts[2])
    )


def test_scores_of_classes_by_hand():
    right, predicted, labelled = torch.tensor([[2, 1, 0, 0], [2, 2, 1, 0], [3, 2, 0, 0]])
    nan = torch.nan
    for metric, expected in {
        "miou": [2 / 3, 1 / 3, 0.0, nan],
        "dice": [4 / 5, 2 / 4, 0.0, nan],
        "mean_accuracy": [2 / 3, 1 / 2, nan, nan],
    }.items():
        found = class_scores(metric, right, predicted, labelled)
        torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)
    with pytest.raises(InputError, match="'pixel_accuracy'; valid: miou, mean_accuracy, dice"):
        class_scores("pixel_accuracy", right, predicted, labelled)


def test_score_does_not_depend_on_the_batch():
    counts = torch.randint(0, 100, (3, 64, 4, 19))
    right = counts.min(0).values
    together = score_counts("miou", right, counts[1], counts[2])
    for i in (0, 17, 63):
        alone = score_counts("miou", right[i], counts[1, i], counts[2, i])
        torch.testing.assert_close(alone, together[i], rtol=0, atol=0)


def test_unknown_metric_is_refused():
    counts = torch.ones(2)
    with pytest.raises(InputError, match="unknown metric 'iou'; valid: miou, pixel_accuracy"):
        score_counts("iou", counts, counts, counts)
