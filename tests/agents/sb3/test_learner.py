"""`rss-train --algo sb3-*`: what it writes, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from safetensors import safe_open

from rss_agents import train
from rss_agents.command_line import DataConfig
from rss_agents.networks import evaluation
from rss_agents.networks.checkpoint import load_checkpoint
from rss_agents.training.setup import open_run
from rss_env.errors import InputError
from rss_env.scenes import load_scenes
from training_runs import RESULT_KEYS, run


@pytest.mark.parametrize("algo", ["sb3-ppo", "sb3-a2c"])
def test_a_run_of_sb3_writes_the_same(tmp_path, algo):
    out = tmp_path / "run"
    result = run(out, "--algo", algo)
    assert set(result) == RESULT_KEYS
    assert result["updates"] == 4
    assert result["score_queries"] == 4 * 2 * 2 * 2
    assert result["objective"] is None
    assert {path.name for path in out.iterdir()} == {
        ".writer.lock", "best.safetensors", "config.json", "curve.png", "film.gif", "film.png",
        "metrics.jsonl", "model.safetensors", "overlay.png", "progress.json", "result.json",
        "sb3.zip", "tensorboard", "validation.json",
    }  # fmt: skip
    rows = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    assert [row["update"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["update"] for row in rows if "miou" in row] == [0, 2, 4]
    assert rows[-1]["score_queries"] == result["score_queries"]
    network, description = load_checkpoint(out)
    validation = load_scenes(DataConfig().open("val"), description.image_size)
    assert evaluation.evaluate(network, validation).miou == result["miou"]
    again = run(tmp_path / "again", "--algo", algo)
    assert again["miou"] == result["miou"]
    with pytest.raises(InputError, match=f"{algo} brings an optimiser of its own"):
        open_run(train.TrainConfig(tmp_path / "none", algo=algo, image_size=(16,)))


def test_the_stock_policy_of_sb3_is_trained_and_evaluated(tmp_path, capsys):
    stock = ("--algo", "sb3-ppo", "--sb3.policy", "cnn", "--scales", "8")
    result = run(tmp_path / "run", *stock, "--image-size", "40")
    assert 0 <= result["miou"] <= 1
    assert result["score_queries"] == 4 * 2 * 2
    assert not (tmp_path / "run" / "model.safetensors").exists()
    for arguments, message in (
        (stock, "takes images from 36x36, got 16x16"),
        (("--algo", "sb3-ppo", "--sb3.epochs", "0"), "sb3 epochs must be at least 1, got 0"),
        (("--algo", "sb3-a2c", "--sb3.entropy", "-1"), "sb3 entropy must be at least 0"),
        (("--algo", "sb3-a2c", "--num-images", "1", "--group-size", "1"), "must be over 1"),
    ):
        with pytest.raises(SystemExit):
            run(tmp_path / "refused", *arguments)
        assert message in capsys.readouterr().err
        assert not (tmp_path / "refused").exists()


def test_without_sb3_it_is_asked_for(tmp_path):
    code = (
        "import sys; sys.modules['stable_baselines3'] = None; import rss_agents.train, rss_env; "
        f"rss_agents.train.main(['--algo', 'sb3-ppo', '--out', {str(tmp_path / 'run')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        "Stable-Baselines3 is not installed; get it with: pip install 'rss-env[sb3]'" in done.stderr
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("policy", ["maps", "cnn"])
def test_a_loss_that_is_no_number_stops_a_run_of_sb3(tmp_path, monkeypatch, capsys, policy):
    monkeypatch.setattr("stable_baselines3.PPO.train", _lose)
    size = ("--image-size", "40", "--scales", "8", "--sb3.policy", policy)
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "run", "--algo", "sb3-ppo", *size)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "update 1: loss nan; the network is in" in error
    assert "gradient norm" not in error
    assert "no training state has been saved yet" in error
    with safe_open(tmp_path / "run" / "not-finite.safetensors", "pt") as file:
        assert all(name.startswith("network.") for name in file.keys())  # noqa: SIM118


def _lose(model) -> None:
    model.logger.record("train/loss", float("nan"))
