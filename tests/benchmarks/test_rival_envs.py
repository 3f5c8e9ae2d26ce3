"""The environments that ours are compared with."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import env_throughput
from benchmarks.env_throughput import Case, write_data
from benchmarks.rival_envs import RivalData, TorchmetricsEnv


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
