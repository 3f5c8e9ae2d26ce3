"""Metrics of a split, by hand."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from rss_agents.networks import evaluation
from rss_env.errors import InputError
from rss_env.labels import VOID


def test_metrics_of_a_split_by_hand():
    # Image 1 has labels of classes 0 and 2 and is drawn in 0, 1 and 2; image 2 is of class 0 alone;
    # image 3 is void. Class 3 is neither labelled nor drawn.
    metrics = evaluation.metrics_from_counts(
        torch.tensor([[4, 0, 3, 0], [2, 0, 0, 0], [0, 0, 0, 0]]),
        torch.tensor([[5, 2, 4, 0], [3, 0, 0, 0], [0, 0, 0, 0]]),
        torch.tensor([[6, 0, 5, 0], [3, 0, 0, 0], [0, 0, 0, 0]]),
    )
    assert metrics.class_iou == pytest.approx((6 / 11, 0, 3 / 6, None))  # drawn, never labelled: 0
    assert metrics.classes_counted == 3
    assert metrics.miou == pytest.approx((6 / 11 + 0 + 3 / 6) / 3)
    assert metrics.image_miou == pytest.approx(((4 / 7 + 0 + 3 / 6) / 3 + 2 / 4) / 2)
    assert metrics.pixel_accuracy == pytest.approx(9 / 14)
    assert metrics.class_precision == pytest.approx((6 / 8, 0, 3 / 4, None))
    assert metrics.class_recall == pytest.approx((6 / 9, None, 3 / 5, None))
    assert metrics.class_pixels == (9, 0, 5, 0)
    of_classes = metrics.report_of_classes("abcd")
    assert of_classes["class_pixels"] == {"a": 9, "b": 0, "c": 5, "d": 0}
    assert of_classes["class_recall"]["b"] is None
    assert metrics.report("abcd")["class_iou"] == dict(zip("abcd", metrics.class_iou, strict=True))
    with pytest.raises(InputError, match="no valid pixel"):
        evaluation.metrics_from_counts(*torch.zeros(3, 2, 4, dtype=torch.int64))


def test_counts_of_answers_by_hand():
    labels = torch.tensor([[[0, 1], [VOID, 2]], [[VOID, VOID], [VOID, VOID]]], dtype=torch.uint8)
    maps = torch.tensor([[[0, 2], [2, 2]], [[0, 0], [0, 0]]], dtype=torch.uint8)
    counts = evaluation.count_answers(iter([(maps[:1], labels[:1]), (maps[1:], labels[1:])]), 3)
    assert counts.confusion.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert counts.right.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert counts.predicted.tolist() == [[1, 0, 2], [0, 0, 0]]
    assert counts.labelled.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert counts.void.tolist() == [1, 4]
    first, second = counts.image_mious().tolist()
    assert first == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert second != second  # NaN: it has no valid pixel
    assert counts.metrics().image_miou == pytest.approx(first)


@pytest.mark.parametrize("num_images", [1, 5])
def test_metrics_are_those_of_torchmetrics(num_images):
    generator = torch.Generator().manual_seed(num_images)
    labels = torch.randint(0, 4, (num_images, 7, 9), generator=generator).to(torch.uint8)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = VOID
    maps = torch.randint(0, 6, labels.shape, generator=generator).to(torch.uint8)
    right, predicted = evaluation.count_maps(maps, labels, 7)
    labelled = torch.stack([(labels == c).sum((1, 2)) for c in range(7)], 1)
    found = evaluation.metrics_from_counts(right, predicted, labelled)

    def expected(maps: torch.Tensor, labels: torch.Tensor) -> float:
        drawn, given = maps.long(), labels.long()
        return float(multiclass_jaccard_index(drawn, given, num_classes=7, ignore_index=VOID))

    assert found.miou == pytest.approx(expected(maps, labels))
    of_images = [expected(*pair) for pair in zip(maps, labels, strict=True)]
    assert found.image_miou == pytest.approx(sum(of_images) / num_images)
    assert found.classes_counted == 6
    assert found.class_iou[4] == found.class_iou[5] == 0
    assert found.class_iou[6] is None
