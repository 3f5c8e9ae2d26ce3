"""Options of a training: every number is checked, whoever reads it, and stands in `config.json`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rss_agents import train
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.command_line import DataConfig
from rss_agents.training.config import TrainConfig
from rss_env.errors import InputError

BAD = {
    "--metric-model.unexplained 0": "metric_model unexplained must be positive, got 0.0",
    "--metric-model.common-error -1": "metric_model common_error must be positive",
    "--metric-model.covariance-cells 0": "metric_model covariance_cells must be at least 1",
    "--metric-model.regions 0": "metric_model regions must be at least 1",
    "--metric-model.region-error nan": "metric_model region_error must be positive",
    "--metric-model.uniform-share 2": "metric_model uniform_share must be in 0..1",
    "--metric-model.decision-memory 1": "metric_model decision_memory must be in 0..1",
    "--metric-model.presence-share 0": "metric_model presence_share must be positive",
    "--varied-maps.weakest 5": "varied_maps weakest and strongest must be positive and in order",
    "--varied-maps.region-noise -1": "varied_maps region_noise must be at least 0",
    "--varied-maps.most-regions 0": "varied_maps most_regions must be at least 1",
    "--gain-errors -1": "gain_errors must be at least 0",
    "--most-importance 0": "most_importance must be positive",
    "--baseline.decay 1": "baseline decay must be in 0..1",
    "--supervised.tag-sharpness 0": "tag_sharpness must be positive",
    "--sb3.warm-up 0": "sb3 warm_up must be between 0 and 1",
    "--warm-up 1": "warm_up must be between 0 and 1",
    "--env RSS/Shapes-Refine-v0": "trainings are of one-step episodes, PixelReward or ImageReward",
    "--metric iou": "unknown metric 'iou'; valid: miou, pixel_accuracy, mean_accuracy, dice",
}


@pytest.mark.parametrize("option", BAD)
def test_a_number_out_of_range_is_refused_under_every_algorithm(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(["--out", str(tmp_path / "run"), *option.split()])
    assert stop.value.code == 2
    assert BAD[option] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def flat(options: dict[str, Any]) -> dict[str, Any]:
    nested = {k: flat(v) if isinstance(v, dict) else {"": v} for k, v in options.items()}
    return {f"{k}.{i}".rstrip("."): v for k, part in nested.items() for i, v in part.items()}


@pytest.mark.usefixtures("one_thread")
def test_all_of_them_stand_in_the_run_s_file(tmp_path):
    small = "--updates 1 --num-images 2 --group-size 2 --image-size 8 --scales 4 --warm-up 0.4"
    train.main(["--out", str(tmp_path), *small.split(), "--metric-model.regions", "3"])
    stored = flat(json.loads((tmp_path / "config.json").read_text()))
    assert set(stored) == set(flat(dataclasses.asdict(TrainConfig(Path("x")))))
    assert (stored["warm_up"], stored["agent.metric_model.regions"]) == (0.4, 3)


def test_the_schedule_rises_for_as_long_as_asked(tmp_path):
    from rss_agents.training.setup import open_run

    def peak(warm_up: float) -> int:
        config = TrainConfig(
            tmp_path / "run", image_size=(8,), scales=(4,), num_images=2, group_size=2,
            updates=20, warm_up=warm_up,
        )  # fmt: skip
        run = open_run(config)
        rates = [run.update(step / 20)["learning_rate"] for step in range(20)]
        return rates.index(max(rates))

    assert peak(0.2) < peak(0.6)


def test_a_value_that_makes_no_training_is_told_in_python_too(tmp_path):
    with pytest.raises(InputError, match="updates must be at least 1, got 0"):
        train.train(TrainConfig(tmp_path / "run", updates=0))


def test_rewards_of_cells_may_be_balanced(tmp_path, capsys):
    from rss_agents.training.setup import open_run

    small: dict[str, Any] = {"image_size": (8,), "scales": (4,), "num_images": 2, "group_size": 2}
    data = DataConfig("RSS/Shapes-PixelReward-v0")
    run = open_run(TrainConfig(tmp_path / "run", data, **small, class_balanced=True))
    assert isinstance(run.learner, RSSLearner)
    assert run.learner.env.class_balanced
    with pytest.raises(SystemExit):
        train.main(["--out", str(tmp_path / "run"), "--class-balanced"])
    assert "class_balanced is for the PixelReward level" in capsys.readouterr().err
