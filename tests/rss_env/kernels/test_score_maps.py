"""Counts and scores of maps: against the reference, and against a loop that shares no code."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from label_problems import (
    COLUMNS,
    SHAPES,
    action_problem,
    arrays,
    assert_alike,
    problem,
    wild_actions,
)
from rss_env.errors import InputError
from rss_env.kernels.label_table import label_table
from rss_env.kernels.score_maps import action_counts, action_scores, class_counts, metric_scores
from rss_env.rewards import METRICS, RatioMetric, score_counts
from rss_env.scenes import count_classes

BACKENDS = ["numba", "reference"]


def counts_by_loop(labels, maps, index, mirrored, columns, scale, classes):
    """The definition, pixel by pixel, on labels flipped beforehand and maps painted out."""
    groups, members, cells = maps.shape
    counts = np.zeros((groups, members, 2, classes), np.int64)
    for g in range(groups):
        label = labels[index[g]].numpy()
        label = label[:, ::-1] if mirrored[g] else label
        for k in range(members):
            grid = maps[g, k].numpy().reshape(cells // columns, columns)
            painted = grid.repeat(scale, 0).repeat(scale, 1)
            for c in range(classes):
                counts[g, k, 0, c] = ((painted == c) & (label == c)).sum()
                counts[g, k, 1, c] = ((painted == c) & (label != 255)).sum()
    return counts


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_counts_equal_the_definition(name, backend):
    _, _, _, _, columns, scale, classes, _ = SHAPES[name]
    labels, maps, index, mirrored = problem(*SHAPES[name])
    table = label_table(labels, classes, scale, backend=backend)
    counts = class_counts(maps, table, index, mirrored, columns, classes, backend=backend)
    expected = counts_by_loop(labels, maps, index, mirrored, columns, scale, classes)
    assert counts.dtype == torch.int32
    np.testing.assert_array_equal(counts.numpy(), expected)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 6),
    st.sampled_from([1, 2, 3, 5]), st.integers(2, 30), st.floats(0, 1), st.integers(0, 1000),
)  # fmt: skip
def test_counts_agree_on_any_shape(
    images, groups, members, rows, columns, scale, classes, void, seed
):
    shape = (images, groups, members, rows, columns, scale, classes, void)
    labels, maps, index, mirrored = problem(*shape, seed=seed)
    table = label_table(labels, classes, scale)
    results = [
        class_counts(maps, table, index, mirrored, columns, classes, backend=i)
        for i in ("reference", "numba")
    ]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_input_of_any_strides_gives_the_same_counts():
    labels, maps, index, mirrored = problem(3, 5, 4, 6, 7, 2, 5, 0.1)
    table = label_table(labels, 5, 2)
    strided_maps = maps.transpose(0, 1).contiguous().transpose(0, 1)
    strided_table = table.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided_maps.is_contiguous()
    assert not strided_table.is_contiguous()
    plain = class_counts(maps, table, index, mirrored, 7, 5)
    torch.testing.assert_close(
        class_counts(strided_maps, strided_table, index, mirrored, 7, 5), plain, rtol=0, atol=0
    )
    strided = (strided_maps.numpy(), [strided_table.numpy()], index.numpy(), mirrored.numpy())
    assert_alike(plain[:, :, None], action_counts(*strided, [7], 5))


def test_unchecked_classes_count_for_nothing():
    labels, _, index, mirrored = problem(1, 1, 2, 4, 4, 2, 3, 0.0)
    for scale, cells in ((2, 16), (1, 64)):
        table = label_table(labels, 3, scale)
        wild = torch.full((1, 2, cells), 200, dtype=torch.uint8)
        assert class_counts(wild, table, index, mirrored, 8 // scale, 3).sum() == 0


def test_unknown_backend_is_refused():
    labels, maps, index, mirrored = problem(1, 1, 1, 2, 2, 2, 2, 0.0)
    table = label_table(labels, 2, 2)
    with pytest.raises(InputError, match="valid: auto, reference, numba"):
        class_counts(maps, table, index, mirrored, 2, 2, backend="cuda")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", [1, 5])
def test_flat_actions_are_counted_as_their_parts(backend, groups):
    _, tables, actions, index, mirrored = action_problem(groups, 1 if groups == 1 else 3)
    parts = actions.split([table.shape[1] for table in tables], -1)
    counts = [
        class_counts(part, table, index, mirrored, columns, 7, backend=backend)
        for part, table, columns in zip(parts, tables, COLUMNS, strict=True)
    ]
    found = action_counts(actions, tables, index, mirrored, COLUMNS, 7, backend=backend)
    assert found.equal(torch.stack(counts, 2))


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_are_scored_as_tensors(backend):
    _, tables, actions, index, mirrored = action_problem()
    rows, flips = index.numpy(), mirrored.numpy()
    pixels, weights = torch.full((4, 7), 40), torch.tensor([0.5, 0.3, 0.2])
    counts = action_counts(actions, tables, index, mirrored, COLUMNS, 7, backend=backend)
    of_arrays = action_counts(
        actions.numpy(), arrays(tables), rows, flips, COLUMNS, 7, backend=backend
    )
    assert_alike(counts, of_arrays)
    for tensor, array in zip(
        metric_scores("miou", counts, pixels, index, weights, backend=backend),
        metric_scores("miou", of_arrays, pixels.numpy(), rows, weights.numpy(), backend=backend),
        strict=True,
    ):
        assert_alike(tensor, array)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", METRICS)
def test_actions_are_scored_as_their_counts(metric, backend):
    labels, tables, actions, index, mirrored = action_problem()
    pixels, weights = count_classes(torch.from_numpy(labels), 7), torch.tensor([0.5, 0.3, 0.2])
    lookup = (actions, tables, index, mirrored, COLUMNS)
    found = action_scores(metric, *lookup, pixels, weights, backend=backend)
    counts = action_counts(*lookup, 7, backend="reference")
    expected = metric_scores(metric, counts, pixels, index, weights, backend="reference")
    of_arrays = action_scores(
        *(metric, actions.numpy(), arrays(tables), index.numpy(), mirrored.numpy(), COLUMNS),
        *(pixels.numpy(), weights.numpy()),
        backend=backend,
    )
    for own, reference, array in zip(found, expected, of_arrays, strict=True):
        assert own.equal(reference)
        assert_alike(own, array)


def test_unchecked_actions_count_for_nothing():
    _, tables, actions, index, mirrored = action_problem()
    wild = wild_actions(actions)
    tame = torch.where(wild < 7, wild, 0)
    counts = action_counts(wild, tables, index, mirrored, COLUMNS, 7)
    expected = action_counts(tame, tables, index, mirrored, COLUMNS, 7)
    assert counts[..., 1:].equal(expected[..., 1:])
    assert (counts[..., 0] <= expected[..., 0]).all()


def count_problem(classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts (4, 3, 2, 2, C) of maps, labelled pixels (5, C), and which image is whose (4,)."""
    random = np.random.default_rng(seed)
    right = random.integers(0, 30, (4, 3, 2, classes))
    right[random.random(right.shape) < 0.4] = 0
    predicted = right + random.integers(0, 2, right.shape) * random.integers(0, 50, right.shape)
    counts = torch.from_numpy(np.stack([right, predicted], 3)).int()
    pixels = torch.from_numpy(random.integers(30, 60, (5, classes)))
    pixels[0], counts[0] = 0, 0  # no valid pixel at all
    return counts, pixels, torch.tensor([0, 3, 1, 4])


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_definition(metric):
    weights = torch.tensor([0.25, 0.75])
    for classes in (2, 21, 60):
        counts, pixels, index = count_problem(classes, 3)
        right, predicted = counts.unbind(3)
        expected = score_counts(metric, right, predicted, pixels[index][:, None, None])
        for backend in BACKENDS:
            scores, means = metric_scores(metric, counts, pixels, index, weights, backend=backend)
            assert scores.dtype == means.dtype == torch.float32
            assert scores.equal(expected)
            torch.testing.assert_close(means, scores @ weights)
        assert expected[0].eq(0).all()
        assert expected[1:].gt(0).all()
    with pytest.raises(InputError, match="unknown metric 'iou'"):
        metric_scores("iou", counts, pixels, index, weights)


def test_means_do_not_depend_on_the_batch():
    counts, pixels, index = count_problem(7, 0)
    weights = torch.tensor([0.3, 0.7])
    _, together = metric_scores("miou", counts, pixels, index, weights)
    for g in range(4):
        for k in range(3):
            part = counts[g : g + 1, k : k + 1]
            _, alone = metric_scores("miou", part, pixels, index[g : g + 1], weights)
            assert alone.equal(together[g : g + 1, k : k + 1])


TVERSKY = st.builds(
    lambda misses: RatioMetric(hits=1, predicted=1 - misses, labelled=misses, overlap=0),
    st.floats(0, 1),
)
F_BETA = st.builds(  # van Rijsbergen's measure: (1 + b^2) tp / (b^2 label + pred)
    lambda beta: RatioMetric(hits=1 + beta**2, predicted=1, labelled=beta**2, overlap=0),
    st.floats(0, 4),
)
POOLED = st.builds(
    lambda beta: RatioMetric(1 + beta**2, 1, beta**2, 0, pooled=True), st.floats(0, 4)
)


@settings(max_examples=100, deadline=None)
@given(st.one_of(TVERSKY, F_BETA, POOLED), st.integers(2, 30), st.integers(0, 10_000))
def test_a_metric_of_ones_own_is_scored_alike_by_all_backends(row, classes, seed):
    counts, pixels, index = count_problem(classes, seed)
    weights = torch.tensor([0.4, 0.6])
    with patch.dict(METRICS, own=row):
        expected, found = (
            metric_scores("own", counts, pixels, index, weights, backend=backend)
            for backend in ("reference", "numba")
        )
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got, want, rtol=2e-7, atol=0)
        assert got.isfinite().all()
        assert (got >= 0).all()
        assert (got <= 1 + 1e-6).all()
