"""Runs at scales and strides that the network has, and at those it has not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rss_agents import train
from rss_agents.algorithms.names import Algorithm
from rss_agents.command_line import DataConfig
from rss_agents.evaluate import EvalConfig, evaluate_checkpoints
from rss_agents.training.config import TrainConfig
from rss_env.errors import InputError
from strided_network import NETWORK


def small_run(out: Path, root: Path, algo: Algorithm, **options: Any) -> TrainConfig:
    data = DataConfig("RSS/VOC-ImageReward-v0", root=str(root))
    sizes: Any = {"image_size": (32, 64), "num_images": 2, "group_size": 2, "updates": 1}
    return TrainConfig(out, data, algo, **(sizes | options))


def test_scales_finer_than_the_network_are_refused_before_anything_is_written(tmp_path, voc_root):
    config = small_run(tmp_path / "run", voc_root, "rss", network=NETWORK, scales=(8, 4, 2))
    with pytest.raises(InputError, match="multiples of 4"):
        train.train(config)
    assert not config.out.exists()


@pytest.mark.parametrize("algo", ["rss", "psl", "psl-multiscale", "rloo"])
def test_every_kind_of_learner_trains_at_the_stride(algo: Algorithm, tmp_path, voc_root):
    config = small_run(tmp_path / "run", voc_root, algo, network=NETWORK, scales=(16, 8, 4))
    result = train.train(config)
    (found,) = evaluate_checkpoints(EvalConfig((config.out,), config.data))
    assert found.metrics.miou == pytest.approx(result["miou"], rel=1e-6)  # the stride is remembered
    assert json.loads((config.out / "config.json").read_text())["network"] == NETWORK


def test_plain_policy_gradients_act_at_scales_coarser_than_pixels(tmp_path, voc_root):
    config = small_run(tmp_path / "run", voc_root, "rloo", scales=(8, 4))
    assert train.train(config)["score_queries"] == 4  # of the finest scale alone
