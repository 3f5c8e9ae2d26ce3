"""Every kernel against its reference, on odd shapes, and against a loop that shares no code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rss_env.errors import InputError
from rss_env.kernels.cell_rewards import cell_rewards
from rss_env.kernels.class_counts import _count_pixels, class_counts
from rss_env.kernels.gather_images import _copy_images, gather_images
from rss_env.kernels.label_table import count_dtype, label_table

# images, groups, members, rows, columns of cells, scale, classes, share of void
SHAPES = {
    "one cell": (1, 1, 1, 1, 1, 1, 2, 0.0),
    "one coarse cell": (1, 1, 1, 1, 1, 8, 2, 0.3),
    "odd": (3, 5, 3, 7, 11, 3, 5, 0.2),
    "pixels": (4, 2, 8, 9, 13, 1, 21, 0.1),
    "sixty classes": (2, 3, 2, 5, 4, 4, 60, 0.1),
    "most classes": (2, 2, 2, 3, 5, 2, 255, 0.0),
    "all void": (2, 2, 3, 4, 4, 2, 3, 1.0),
    "all void pixels": (2, 2, 3, 4, 4, 1, 3, 1.0),
    "single row": (2, 2, 2, 1, 17, 2, 4, 0.1),
    "wide cells": (2, 3, 2, 2, 3, 17, 6, 0.1),  # of more pixels than a byte counts
}


def problem(images, groups, members, rows, columns, scale, classes, void, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, (images, rows * scale, columns * scale), dtype=np.uint8)
    labels[random.random(labels.shape) < void] = 255
    maps = random.integers(0, classes, (groups, members, rows * columns), dtype=np.uint8)
    index = random.integers(0, images, groups)
    mirrored = random.random(groups) < 0.5
    return tuple(torch.from_numpy(a) for a in (labels, maps, index, mirrored))


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


@pytest.mark.parametrize("name", SHAPES)
def test_faces_agree(name):
    _, _, _, _, columns, scale, classes, _ = SHAPES[name]
    labels, maps, index, mirrored = problem(*SHAPES[name], seed=1)
    tables = [label_table(labels, classes, scale, backend=i) for i in ("reference", "numba")]
    assert tables[0].dtype == tables[1].dtype
    torch.testing.assert_close(tables[0], tables[1], rtol=0, atol=0)
    weights = torch.rand(classes)
    arguments = (maps, tables[0], index, mirrored, columns)
    rewards = [cell_rewards(*arguments, weights, backend=i) for i in ("reference", "numba")]
    torch.testing.assert_close(rewards[0], rewards[1], rtol=1e-6, atol=0)
    batches = [gather_images(labels, index, mirrored, 3, backend=i) for i in ("reference", "numba")]
    torch.testing.assert_close(batches[0], batches[1], rtol=0, atol=0)


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


def test_non_contiguous_input_gives_the_same():
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
    wide = torch.zeros(3, 12, 28, dtype=torch.uint8)
    wide[..., ::2] = labels
    torch.testing.assert_close(
        label_table(wide[..., ::2], 5, 2), label_table(labels, 5, 2), rtol=0, atol=0
    )


def test_cell_rewards_by_hand():
    labels = torch.tensor([[[0, 0, 1, 255], [0, 1, 255, 255]]], dtype=torch.uint8)
    table = label_table(labels, 2, 2)
    maps = torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8)
    index, weights = torch.zeros(1, dtype=torch.int64), torch.tensor([1.0, 2.0])
    plain = cell_rewards(maps, table, index, torch.tensor([False]), 2, weights)
    torch.testing.assert_close(plain, torch.tensor([[[0.75, 2.0], [0.5, 0.0]]]))
    mirrored = cell_rewards(maps, table, index, torch.tensor([True]), 2, weights)
    torch.testing.assert_close(mirrored, torch.tensor([[[0.0, 0.5], [2.0, 0.75]]]))


def test_unchecked_classes_count_for_nothing():
    labels, _, index, mirrored = problem(1, 1, 2, 4, 4, 2, 3, 0.0)
    for scale, cells in ((2, 16), (1, 64)):
        table = label_table(labels, 3, scale)
        wild = torch.full((1, 2, cells), 200, dtype=torch.uint8)
        columns = 8 // scale
        assert class_counts(wild, table, index, mirrored, columns, 3).sum() == 0
        assert cell_rewards(wild, table, index, mirrored, columns, torch.ones(3)).sum() == 0


def test_gathered_images_are_fresh_and_flipped():
    images = torch.arange(2 * 2 * 3 * 3, dtype=torch.uint8).view(2, 2, 3, 3)
    index, mirrored = torch.tensor([1, 0]), torch.tensor([True, False])
    batch = gather_images(images, index, mirrored, 2)
    assert batch.shape == (4, 2, 3, 3)
    torch.testing.assert_close(batch[0], images[1].flip(1))
    torch.testing.assert_close(batch[1], images[1].flip(1))
    torch.testing.assert_close(batch[3], images[0])
    batch.zero_()
    assert images.sum() > 0


def test_large_cells_do_not_overflow():
    assert count_dtype(15) == torch.uint8
    assert count_dtype(16) == torch.int16
    assert count_dtype(181) == torch.int16
    assert count_dtype(182) == torch.int32
    labels = torch.zeros(1, 256, 256, dtype=torch.uint8)
    for backend in ("reference", "numba"):
        of_one = label_table(labels, 2, 256, backend=backend)
        assert of_one[0, 0].tolist() == [65536, 0, 65536]
        of_many = label_table(labels, 2, 16, backend=backend)
        assert (of_many == torch.tensor([256, 0, 256])).all()
    of_bytes = label_table(labels[:, :240, :240], 2, 15)
    assert of_bytes.dtype == torch.uint8
    assert (of_bytes == torch.tensor([225, 0, 225])).all()


def test_serial_and_parallel_loops_do_not_share_a_cache_entry():
    for loop in (_count_pixels, _copy_images):
        assert loop.serial.py_func.__qualname__ != loop.parallel.py_func.__qualname__
        assert not loop.serial.targetoptions.get("parallel", False)
        assert loop.parallel.targetoptions["parallel"]


def test_unknown_implementation_is_refused():
    labels, maps, index, mirrored = problem(1, 1, 1, 2, 2, 2, 2, 0.0)
    table = label_table(labels, 2, 2)
    with pytest.raises(InputError, match="valid: auto, reference, numba"):
        class_counts(maps, table, index, mirrored, 2, 2, backend="cuda")
