"""Data that stay on the host: the same images in the same order, gathered ahead of their use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import small_environments
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.networks.evaluation import evaluate
from rss_agents.training.config import TrainConfig
from rss_agents.training.setup import GradientRun, open_run
from rss_env import streamed_images
from rss_env.errors import InputError
from rss_env.streamed_images import StreamedImages, streams

pytestmark = pytest.mark.usefixtures("one_thread")

RUNS: dict[str, dict[str, Any]] = {
    "rss": {},
    "parts of zoomed images": {"zoom": (0.8, 1.5), "colour_jitter": 0.2, "crop_size": (8,)},
    "rewards of cells": {"data": DataConfig("RSS/Shapes-PixelReward-v0")},
    "linear": {"agent": RSSConfig(score_model="linear"), "feedback": "noisy"},
    "two batches": {"accumulate": 2},
    "psl": {"algo": "psl"},
}


def opened(out: Path, data_on: str, captures: bool = False, **options: Any) -> GradientRun:
    shapes = DataConfig("RSS/Shapes-ImageReward-v0")
    small = {"image_size": (16,), "scales": (4, 2), "num_images": 2, "group_size": 2, "updates": 4}
    given: dict[str, Any] = {"out": out, "data": shapes, "data_on": data_on, **small, **options}
    run = open_run(TrainConfig(**given))
    run.captures = captures
    run._begin_capture()
    return run


def losses(run: GradientRun) -> list[float]:
    return [float(run.update(number / 4)["loss"]) for number in range(4)]


@pytest.mark.parametrize("name", RUNS)
def test_streamed_images_teach_what_images_on_the_device_teach(name, tmp_path):
    expected = losses(opened(tmp_path, "device", **RUNS[name]))
    for captures in (False, True):
        assert losses(opened(tmp_path, "host", captures, **RUNS[name])) == expected


def test_batches_are_gathered_in_a_thread_before_they_are_asked_for(tmp_path, monkeypatch):
    gather, where = StreamedImages._gather, []

    def noted(self: StreamedImages, index: Any) -> Any:
        where.append(threading.current_thread() is threading.main_thread())
        return gather(self, index)

    monkeypatch.setattr(StreamedImages, "_gather", noted)
    run = opened(tmp_path, "host")
    metrics = [run.update(number / 4) for number in range(4)]
    assert where.count(True) == 1  # the first batch, which nobody could expect
    assert metrics[-1]["streamed_megabytes_per_second"] > 0
    assert "streamed_megabytes_per_second" not in opened(tmp_path, "auto").update(0.0)


def test_what_was_not_expected_is_gathered_all_the_same():
    images = np.arange(5 * 2 * 3 * 3, dtype=np.uint8).reshape(5, 2, 3, 3)
    source = StreamedImages(images, images[..., 0].copy(), torch.device("cpu"))
    assert source.megabytes_per_second == 0
    source.expect(np.array([1, 2]))
    for index in ([1, 2], [4, 0], [3, 3]):
        pixels, truth = source.take(np.array(index))
        assert truth is not None
        np.testing.assert_array_equal(pixels.numpy(), images[index])
        np.testing.assert_array_equal(truth.numpy(), images[index][..., 0])
        source.expect(np.array([0, 0]))
        pixels.zero_()  # it is the caller's
    assert images.max() > 0
    assert StreamedImages(images, None, torch.device("cpu")).take(np.array([0]))[1] is None


def test_steps_and_validations_are_those_of_the_device(tmp_path):
    kinds = [small_environments.make(array="torch", data_on=d) for d in ("device", "host")]
    actions = torch.zeros(4, kinds[0].unwrapped.geometry.num_cells, dtype=torch.int64)
    results = []
    for env in kinds:
        images, _ = env.reset(seed=3)
        results.append([images, *env.step(actions)[:2]])
    assert all(one.equal(other) for one, other in zip(*results, strict=True))
    runs = [opened(tmp_path, data_on) for data_on in ("device", "host")]
    found = []
    for run in runs:
        assert run.validation is not None
        found.append(evaluate(run.network.eval(), run.validation).miou)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("data_on", "device", "free", "expected"),
    [
        ("auto", "cpu", 0, False),
        ("auto", "cuda", 4000, False),
        ("auto", "cuda", 3999, True),
        ("device", "cuda", 0, False),
        ("host", "cuda", 10**12, True),
        ("host", "cpu", 0, True),
    ],
)
def test_data_stay_on_the_host_where_there_is_no_room(data_on, device, free, expected, monkeypatch):
    monkeypatch.setattr(streamed_images.torch.cuda, "mem_get_info", lambda _: (free, 10**12))
    monkeypatch.setattr(streamed_images.torch.cuda, "is_available", lambda: True)
    assert streams(data_on, 1000, torch.device(device)) == expected


def test_another_place_is_refused():
    with pytest.raises(InputError, match="unknown data_on 'disk'; valid: auto, device, host"):
        small_environments.make(data_on="disk")
