"""Environments in forked processes, at the default size and with as many threads as there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import gymnasium as gym
import torch

import rss_env

torch.ones(1_000_000).fill_(2.0)  # the pool of threads is there before the fork
env = gym.make_vec("RSS/Shapes-ImageReward-v0", num_envs=3, vectorization_mode="async")
native = gym.make_vec("RSS/Shapes-ImageReward-v0", num_envs=3)
observations = [e.reset(seed=0)[0] for e in (env, native)]
assert (observations[0] == observations[1]).all()
actions = native.action_space.sample()
rewards = [e.step(actions)[1] for e in (env, native)]
assert (rewards[0] == rewards[1]).all()
env.close()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_an_async_vector_environment_of_default_size_does_not_hang():
    """It did, waiting for threads of the parent: processes are killed then, and the test fails."""
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in variables}
    environment["PYTHONPATH"] = str(ROOT)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert output == "done\n", errors
