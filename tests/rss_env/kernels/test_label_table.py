"""Tables of labels per cell: against the reference, from any strides, without overflow."""

from __future__ import annotations

import pytest
import torch

from label_problems import SHAPES, problem
from rss_env.kernels.label_table import count_dtype, label_table


@pytest.mark.parametrize("name", SHAPES)
def test_tables_are_those_of_the_reference(name):
    _, _, _, _, _, scale, classes, _ = SHAPES[name]
    labels, _, _, _ = problem(*SHAPES[name], seed=1)
    expected = label_table(labels, classes, scale, backend="reference")
    found = label_table(labels, classes, scale, backend="numba")
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_labels_of_any_strides_give_the_same_table():
    labels, _, _, _ = problem(3, 5, 4, 6, 7, 2, 5, 0.1)
    wide = torch.zeros(3, 12, 28, dtype=torch.uint8)
    wide[..., ::2] = labels
    torch.testing.assert_close(
        label_table(wide[..., ::2], 5, 2), label_table(labels, 5, 2), rtol=0, atol=0
    )


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
