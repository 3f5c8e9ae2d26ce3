"""The benchmarks of speed run and report what they should; how fast is for them to say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import env_throughput, kernels
from benchmarks.env_throughput import Case, ThroughputConfig, write_data
from benchmarks.kernels import KernelsConfig
from benchmarks.rival_envs import RivalData, TorchmetricsEnv
from benchmarks.timing import time_in_turn


def test_things_are_timed_in_turn_after_a_warm_up():
    order = []
    things = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    timings = time_in_turn(things, repeats=9, warm_up=1)
    rounds = list(zip(order[::2], order[1::2], strict=True))
    assert len(rounds) == 10
    assert set(rounds) == {("a", "b"), ("b", "a")}  # everything in each, in no order of its own
    assert list(timings) == ["a", "b"]
    assert {len(timing.seconds) for timing in timings.values()} == {9}


def test_every_kernel_is_timed(tmp_path):
    config = KernelsConfig(
        image_size=8, num_classes=4, images=4, members=(2, 3), part=2, repeats=2,
        out=tmp_path / "kernels.md",
    )  # fmt: skip
    kernels.measure(config)
    report = (tmp_path / "kernels.md").read_text()
    names = [
        "class counts, K = 1", "class counts, 4x4 cells", "cell rewards", "label table",
        "metric scores", "gather images", "narrow actions", "sample classes, K = 3",
        "sample classes, K = 2, stratified", "pair-wise spatial difference, K = 3",
        "pooled cells", "expected counts", "expected scores", "covariances",
        "whitened residuals",
    ]  # fmt: skip
    for name in names:
        for backend in ("numba", "reference"):
            assert any(
                line.startswith(f"| {name}") and f"| {backend} |" in line
                for line in report.splitlines()
            ), (name, backend)


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


def test_the_torchmetrics_environment_scores_as_ours(tmp_path):
    pytest.importorskip("torchmetrics")
    case = Case(16, 5, (4, 1))
    options = write_data(tmp_path / "data", case, 6)
    ours = env_throughput.native(4, {**options, "array": "numpy"})
    scenes, batch = ours.unwrapped._scenes, ours.unwrapped._batch
    rival = TorchmetricsEnv(
        RivalData.of(scenes.images.numpy(), scenes.labels.numpy(), ours.unwrapped.geometry)
    )
    actions = env_throughput.random_actions(ours, case, 4)
    scores = ours.step(actions)[4]["final_info"]["scale_scores"]
    for number, index in enumerate(batch.index):
        rival.index = int(index)
        np.testing.assert_allclose(rival.score(actions[number]), scores[number], rtol=1e-5)
