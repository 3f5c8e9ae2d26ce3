"""Memory of batches that is used again."""

from __future__ import annotations

import numpy as np
import torch

from rss_env.array_pool import ArrayPool


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
