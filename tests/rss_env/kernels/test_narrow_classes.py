"""Class indices of any integer type as bytes."""

from __future__ import annotations

import numpy as np
import pytest

from rss_env.errors import InputError
from rss_env.kernels.narrow_classes import narrow_classes


@pytest.mark.parametrize("backend", ["auto", "numba", "reference"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int16, np.uint64])
def test_narrowing_keeps_classes_and_finds_others(backend, dtype):
    if backend == "numba" and dtype in (np.int16, np.uint64):
        pytest.skip("left to NumPy")
    random = np.random.default_rng(0)
    actions = random.integers(0, 9, (3, 40)).astype(dtype)
    parts = (actions[:, :7], actions[:, 33:], actions[::2, 5:9], actions[::-1, :7], actions[:, ::2])
    others = (actions[:1, 3:], actions[:0, 3:], actions[:, :0], actions.T, actions[:0])
    for given in (actions, actions[:1], actions.reshape(3, 5, 8), *parts, *others):
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
            assert narrow_classes(wrong[:, 4:], 9, backend=backend)[1] is False
            assert narrow_classes(wrong[:, :39], 9, backend=backend)[1] is True
    with pytest.raises(InputError, match="unknown backend 'triton'"):
        narrow_classes(actions, 9, backend="triton")
