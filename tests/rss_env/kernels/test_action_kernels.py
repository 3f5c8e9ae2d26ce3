"""The kernels of a step: all scales of flat actions at once, as tensors and as arrays."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from rss_env import counter_random
from rss_env.array_pool import ArrayPool
from rss_env.errors import InputError
from rss_env.kernels.cell_rewards import action_rewards, cell_rewards
from rss_env.kernels.class_counts import action_counts, class_counts
from rss_env.kernels.gather_images import gather_arrays, gather_images
from rss_env.kernels.label_table import label_table
from rss_env.kernels.metric_scores import metric_scores
from rss_env.kernels.narrow_classes import narrow_classes
from rss_env.rewards import METRICS, score_counts

COMPILED = ["numba", "reference"]
SCALES = (6, 3, 1)


def problem(groups: int = 5, members: int = 3, classes: int = 7, seed: int = 0) -> Any:
    """Labels (4, 12, 18) with void, their tables, flat actions of three scales, half flipped."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (4, 12, 18), dtype=np.uint8)
    labels[random.random(labels.shape) < 0.2] = 255
    tables = [label_table(torch.from_numpy(labels), classes, scale) for scale in SCALES]
    cells = sum(table.shape[1] for table in tables)
    actions = torch.from_numpy(random.integers(0, classes, (groups, members, cells), np.uint8))
    index = torch.from_numpy(random.integers(0, 4, groups))
    return labels, tables, actions, index, torch.arange(groups) % 2 == 0


def arrays(tensors) -> Any:
    return [tensor.numpy() for tensor in tensors]


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("groups", [1, 5])
def test_flat_actions_are_counted_and_rewarded_as_their_parts(backend, groups):
    _, tables, actions, index, mirrored = problem(groups, 1 if groups == 1 else 3)
    weights, columns = torch.rand(7), [18 // scale for scale in SCALES]
    parts = actions.split([table.shape[1] for table in tables], -1)
    each = list(zip(parts, tables, columns, strict=True))
    counts = [class_counts(p, t, index, mirrored, c, 7, backend=backend) for p, t, c in each]
    rewards = [cell_rewards(p, t, index, mirrored, c, weights, backend=backend) for p, t, c in each]
    got = action_counts(actions, tables, index, mirrored, columns, 7, backend=backend)
    assert got.equal(torch.stack(counts, 2))
    given = (actions, tables, index, mirrored, columns, weights)
    assert action_rewards(*given, backend=backend).equal(torch.cat(rewards, -1))


@pytest.mark.parametrize("backend", COMPILED)
def test_arrays_give_arrays_with_what_tensors_give(backend):
    labels, tables, actions, index, mirrored = problem()
    columns, pixels = [18 // scale for scale in SCALES], torch.full((4, 7), 40)
    tensors = (actions, tables, index, mirrored)
    rows, flips = arrays((index, mirrored))
    as_arrays = (actions.numpy(), arrays(tables), rows, flips)
    counts = action_counts(*tensors, columns, 7, backend=backend)
    got = action_counts(*as_arrays, columns, 7, backend=backend)
    pairs = [(counts, got)]
    scores = [
        metric_scores("miou", *given, backend=backend)
        for given in cast(list[Any], [(counts, pixels, index), arrays((counts, pixels, index))])
    ]
    pairs.append((scores[0], scores[1]))
    rewards = [
        action_rewards(*given, columns, torch.rand(7, generator=torch.Generator().manual_seed(0)),
                       backend=backend)
        for given in (tensors, as_arrays)
    ]  # fmt: skip
    pairs.append((rewards[0], rewards[1]))
    images = [
        gather_images(torch.from_numpy(labels), index, mirrored, 2, backend=backend),
        gather_images(labels, rows, flips, 2, backend=backend),
    ]
    pairs.append((images[0], images[1]))
    for tensor, array in pairs:
        assert isinstance(tensor, torch.Tensor)
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_unchecked_actions_count_for_nothing_and_earn_nothing():
    _, tables, actions, index, mirrored = problem()
    columns, weights = [18 // scale for scale in SCALES], torch.rand(7)
    wild = actions.clone()
    wild[..., ::3] = torch.tensor([7, 100, 255], dtype=torch.uint8).repeat(99)[
        : wild[0, 0, ::3].numel()
    ]
    legal = wild < 7
    counts = action_counts(wild, tables, index, mirrored, columns, 7)
    rewards = action_rewards(wild, tables, index, mirrored, columns, weights)
    assert (rewards[~legal] == 0).all()
    expected = action_rewards(
        torch.where(legal, wild, 0), tables, index, mirrored, columns, weights
    )
    assert rewards[legal].equal(expected[legal])
    tame = action_counts(torch.where(legal, wild, 0), tables, index, mirrored, columns, 7)
    assert counts[..., 1:].equal(tame[..., 1:])
    assert (counts[..., 0] <= tame[..., 0]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_definition(metric):
    random = np.random.default_rng(3)
    for classes in (2, 21, 60):
        right = random.integers(0, 30, (4, 3, 2, classes))
        right[random.random(right.shape) < 0.4] = 0
        predicted = right + random.integers(0, 2, right.shape) * random.integers(0, 50, right.shape)
        counts = torch.from_numpy(np.stack([right, predicted], 3)).int()
        pixels = torch.from_numpy(random.integers(30, 60, (5, classes)))
        pixels[0], counts[0] = 0, 0  # no valid pixel at all
        index = torch.tensor([0, 3, 1, 4])
        right, predicted = counts.unbind(3)
        expected = score_counts(metric, right, predicted, pixels[index][:, None, None])
        for backend in COMPILED:
            scores = metric_scores(metric, counts, pixels, index, backend=backend)
            assert scores.dtype == torch.float32
            assert scores.equal(expected)
        assert expected[0].eq(0).all()
        assert expected[1:].gt(0).all()
    with pytest.raises(InputError, match="unknown metric 'iou'"):
        metric_scores("iou", counts, pixels, index)


@pytest.mark.parametrize("backend", ["auto", *COMPILED])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int16, np.uint64])
def test_narrowing_keeps_classes_and_finds_others(backend, dtype):
    if backend == "numba" and dtype in (np.int16, np.uint64):
        pytest.skip("left to NumPy")
    random = np.random.default_rng(0)
    actions = random.integers(0, 9, (3, 40)).astype(dtype)
    for given in (actions, actions[:, ::2], actions.reshape(3, 5, 8), actions[:1], actions[:0]):
        classes, legal = narrow_classes(given, 9, backend=backend)
        assert legal is True
        assert classes.dtype == np.uint8
        np.testing.assert_array_equal(classes, given)
        assert not np.shares_memory(classes, given)
    for bad in (9, 255, 256, 2**32, -1, -(2**40)):
        if np.iinfo(dtype).min <= bad <= np.iinfo(dtype).max:
            wrong = actions.copy()
            wrong[2, 39] = bad
            assert narrow_classes(wrong, 9, backend=backend)[1] is False
    with pytest.raises(InputError, match="unknown backend 'triton'"):
        narrow_classes(actions, 9, backend="triton")


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 2, 17])
def test_images_of_any_depth_are_flipped(depth, width):
    images = torch.randint(0, 256, (3, 4, width, depth), dtype=torch.uint8)
    index, mirrored = torch.tensor([2, 0, 2]), torch.tensor([True, False, False])
    into = np.empty((6, 4, width, depth), np.uint8)
    given = (images.numpy(), index.numpy(), mirrored.numpy())
    batch = gather_arrays(*given, 2, into)
    assert batch is into
    expected = gather_images(images, index, mirrored, 2, backend="reference")
    np.testing.assert_array_equal(batch, expected.numpy())


def test_a_pool_gives_memory_again_only_when_nobody_holds_it():
    pool = ArrayPool((3, 5))
    held = [pool.take() for _ in range(5)]
    assert {array.shape for array in held} == {(3, 5)}
    for number in range(5):
        held[number][:] = number
    assert [array[0, 0] for array in held] == [0, 1, 2, 3, 4]
    view, address = torch.from_numpy(held[2])[1:], held[2].ctypes.data
    del held[2]
    assert all(not np.shares_memory(pool.take(), view.numpy()) for _ in range(8))
    assert (view == 2).all()
    del view
    assert pool.take().ctypes.data == address
    others = {a.ctypes.data for a in held}
    assert all(pool.take().ctypes.data not in others for _ in range(8))


def test_integers_of_episodes_are_those_of_any_keys():
    seeds, episodes = np.random.default_rng(0).integers(0, 2**62, (2, 50))
    fast = counter_random.integers_of_episodes(1000, seeds, episodes, 1)
    plain = counter_random.integers(1000, seeds, episodes, 1)
    assert fast.dtype == plain.dtype == np.int64
    np.testing.assert_array_equal(fast, plain)
    first = counter_random.integers_of_episodes(1000, seeds, np.zeros_like(episodes), 1)
    unbegun = counter_random.integers_of_episodes(1000, seeds, np.full_like(episodes, -1), 1)
    np.testing.assert_array_equal(unbegun, first)
