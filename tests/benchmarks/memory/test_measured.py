"""The peak that is measured."""

from __future__ import annotations

import torch

from benchmarks.memory.measured import allocated_peak


def test_the_peak_of_a_function():
    def two_of_three() -> None:
        first = torch.zeros(1000)
        second = first.clone()
        del first
        second.clone()

    assert allocated_peak(two_of_three) == 2 * 4000
