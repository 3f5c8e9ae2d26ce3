"""Matrices of MATLAB files, held against SciPy's writer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from rss_env.datasets.matlab_matrix import read_matrix


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (5, 1), (7, 4), (60, 33)])
def test_matrices_are_those_that_were_saved(tmp_path, shape, kind, compressed):
    values = np.random.default_rng(0).integers(0, 100, shape).astype(kind)
    content = {"other": np.ones(3), "name": "text", "LabelMap": values}
    savemat(tmp_path / "x.mat", content, do_compression=compressed)
    found = read_matrix(tmp_path / "x.mat", "LabelMap")
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_no_integer_matrix_is_refused(tmp_path, compressed):
    path = tmp_path / "x.mat"
    for value in (np.ones((2, 2)), np.ones((2, 2, 2), np.uint8), "text", {"a": 1}, 1j):
        savemat(path, {"LabelMap": value}, do_compression=compressed)
        with pytest.raises(ValueError, match="LabelMap"):
            read_matrix(path, "LabelMap")
    with pytest.raises(KeyError):
        read_matrix(path, "Labels")
    content = path.read_bytes()
    for broken in (b"", content[:100], content[:140], b"x" * 200):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"version 5|larger|ends"):
            read_matrix(path, "LabelMap")
