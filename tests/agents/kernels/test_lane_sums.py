"""Sums in one order, and kernels that round alike in every process that runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from rss_agents.kernels.lane_sums import PARTS, sum_of_halves, sum_of_parts
from rss_agents.kernels.whitened_residuals import _back_substitute

ROOT = Path(__file__).parents[3]
DIGESTS = """
import hashlib

import torch

from rss_agents.kernels.expected_counts import expected_counts
from rss_agents.kernels.whitened_residuals import whitened_residuals

torch.set_num_threads(1)
draw = torch.Generator().manual_seed(0)
found = hashlib.sha256()
offsets = (0, 64, 64 + 250, 64 + 250 + 1024)  # whole rounds of lanes, and such with a rest
rates = torch.rand(3, 6, offsets[-1], generator=draw).softmax(1)
maps = torch.randint(0, 6, (3, 8, offsets[-1]), generator=draw, dtype=torch.uint8)
found.update(expected_counts(rates, maps, offsets).numpy().tobytes())
for count in (8, 40):
    root = torch.randn(3, count, count, generator=draw)
    residuals, noise = torch.randn(2, 3, count, generator=draw)
    there = torch.ones(3, count, dtype=torch.bool)
    solved = whitened_residuals(residuals, root @ root.mT, noise.abs() + 0.1, there, 8)
    found.update(solved.numpy().tobytes())
print(found.hexdigest())
"""


def test_what_compiles_and_what_loads_round_alike_with_any_number_of_threads(tmp_path):
    def digest(threads: int) -> str:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agents")]),
            "NUMBA_CACHE_DIR": str(tmp_path),
            "NUMBA_NUM_THREADS": str(threads),
        }
        command = [sys.executable, "-c", DIGESTS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    compiled = digest(1)
    assert list(tmp_path.rglob("*._count-*.nbc"))
    assert digest(2) == compiled


@numba.njit
def _sum_of_parts(lanes, width):
    return sum_of_parts(lanes, width)


@numba.njit
def _sum_of_halves(lanes, width):
    return sum_of_halves(lanes, width)


@pytest.mark.parametrize("width", [1, 4, 8])
def test_lanes_are_added_in_the_order_that_is_written(width):
    lanes = np.random.default_rng(0).standard_normal(PARTS * width).astype(np.float32)
    first, second, third, fourth = lanes.reshape(PARTS, width)
    left = (first + second) + (third + fourth)
    while len(left) > 1:
        left = left[: len(left) // 2] + left[len(left) // 2 :]
    assert _sum_of_parts(lanes.copy(), width) == left[0]
    assert _sum_of_halves(np.arange(8, dtype=np.float32), 4) == 6  # of the first four


@pytest.mark.parametrize("count", [1, 4, 5, 16, 17, 39])
def test_back_substitution_solves_systems_of_any_size(count):
    random = np.random.default_rng(count)
    factor = np.triu(random.standard_normal((count, count))) + 4 * np.eye(count)
    values = random.standard_normal(count)
    solved = values.copy()
    _back_substitute(factor, solved, np.empty(16))
    np.testing.assert_allclose(factor @ solved, values, atol=1e-12)
