"""The benchmark of steps runs and reports what it should; how fast is for it to say."""

from __future__ import annotations

import pytest

from benchmarks import env_throughput
from benchmarks.env_throughput import ThroughputConfig


def test_steps_are_compared_and_fitted(tmp_path):
    pytest.importorskip("torchmetrics")
    config = ThroughputConfig(
        sizes=(16,), classes=(5,), scales=((4, 1),), num_envs=(1, 2, 4), compare_at=4,
        slow_envs=2, num_images=6, repeats=2, out=tmp_path / "steps.md",
    )  # fmt: skip
    env_throughput.measure(config)
    report = (tmp_path / "steps.md").read_text()
    for what in ("native", "SyncVectorEnv of singles", "AsyncVectorEnv of 2", "torchmetrics",
                 "bare environments", "part: scores", "bound: "):  # fmt: skip
        assert what in report
    assert "Straight line: " in report
