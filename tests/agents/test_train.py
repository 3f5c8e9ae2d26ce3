"""The commands end to end: what they write, how they fail, what they leave behind."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import random_labels, write_sample

from rss_agents import evaluate, train
from rss_agents.algorithms.labelled_and_scored import LabelledAndScoredLearner
from rss_agents.algorithms.rss_config import RSSConfig
from rss_agents.command_line import DataConfig
from rss_agents.networks import evaluation
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
from rss_agents.training.config import TrainConfig
from rss_agents.training.logging import versions
from rss_agents.training.setup import open_run
from rss_env.datasets.base import voc_palette
from rss_env.scenes import load_scenes
from training_runs import RESULT_KEYS, TINY, run


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
        ("--queries", "30"),
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
    expected = 24 if "--queries" in arguments else expected
    assert result["score_queries"] == expected
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {
        ".writer.lock", "best.safetensors", "config.json", "curve.png", "film.gif", "film.png",
        "metrics.jsonl", "model.safetensors", "overlay.png", "progress.json", "result.json",
        "tensorboard", "validation.json",
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [row["update"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["update"] for row in rows if "miou" in row] == [0, 2, 4]
    assert rows[-1]["miou"] == result["miou"]
    network, description = load_checkpoint(tmp_path / "run/best.safetensors")
    validation = load_scenes(DataConfig().open("val"), description.image_size)
    best = evaluation.evaluate(network, validation)
    assert best.miou == max(row["miou"] for row in rows[1:] if "miou" in row)
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


def test_training_on_a_folder_and_without_labels(tmp_path, folder_data):
    for name, samples in (("train", (0, 1, 2)), ("val", (3, 4))):
        (tmp_path / f"{name}.txt").write_text("".join(f"photo {i}\n" for i in samples))
    common = [
        "--env", "RSS/Folder-ImageReward-v0", "--images", folder_data["images"],
        "--classes", folder_data["classes"], "--split", str(tmp_path / "train.txt"),
        "--val-split", str(tmp_path / "val.txt"),
    ]  # fmt: skip
    assert run(tmp_path / "labelled", *common, "--labels", folder_data["labels"])["miou"] > 0
    result = run(tmp_path / "scored", *common, "--scorer", "training_runs:prefer_houses")
    assert result["miou"] is None
    assert (tmp_path / "scored/overlay.png").exists()


def test_images_with_labels_are_learned_from_and_not_scored(tmp_path, folder_data, capsys):
    """Labels of three images are all there are; the other two are scored."""
    labels = tmp_path / "labels"
    labels.mkdir()
    for i in range(3):
        shutil.copy(Path(folder_data["labels"]) / f"photo {i}.png", labels)
    (tmp_path / "known.txt").write_text("photo 0\nphoto 1\nphoto 2\n")
    data = [
        "--env", "RSS/Folder-ImageReward-v0", "--images", folder_data["images"],
        "--classes", folder_data["classes"], "--labels", str(labels),
        "--val-split", str(tmp_path / "known.txt"), "--labelled", str(tmp_path / "known.txt"),
    ]  # fmt: skip
    scorer = ["--scorer", "training_runs:prefer_houses"]
    result = run(tmp_path / "run", *data, *scorer)
    assert result["miou"] > 0
    learner = open_run(TrainConfig(
        tmp_path / "other", DataConfig(
            "RSS/Folder-ImageReward-v0", images=folder_data["images"],
            labels=folder_data["labels"], classes=folder_data["classes"],
        ),
        labelled=str(tmp_path / "known.txt"), val_split=str(tmp_path / "known.txt"),
        image_size=(16,), scales=(4,), num_images=2, group_size=2,
    )).learner  # fmt: skip
    assert isinstance(learner, LabelledAndScoredLearner)
    assert learner._scored.env.num_images == 2
    assert len(learner._labelled.scenes) == 3
    with pytest.raises(SystemExit):
        run(tmp_path / "psl", *data, "--algo", "psl", *scorer)
    assert "labelled is of --algo rss; got --algo psl" in capsys.readouterr().err
    every = tmp_path / "every.txt"
    every.write_text("".join(f"photo {i}\n" for i in range(5)))
    with pytest.raises(SystemExit):
        run(tmp_path / "none", *data, *scorer, "--labelled", str(every))
    assert "names every image of the 5 it is to be left out of" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


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
    "rate": (["--learning-rate", "nan"], "learning_rate must be in 0..1e6"),
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
    "queries": (
        ["--queries", "7"],
        "queries must be between one batch (images x group size x scales = 8) and what 4 updates "
        "ask for (32), got 7",
    ),
    "queries of labels": (
        ["--queries", "8", "--algo", "psl"],
        "queries is of --algo rss; got --algo psl",
    ),
    "queries without memory": (
        ["--queries", "8", "--replay", "0"],
        "a budget of queries needs a memory of scored maps",
    ),
    "labelled": (["--labelled", "some.txt"], "exclude must be a list file (.txt) of images of a"),
    "scorer timeout": (["--scorer-timeout", "-1"], "scorer_timeout must be positive, got -1"),
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


def test_configuration_is_frozen_into_the_run(tmp_path):
    run(tmp_path / "run", "--exploration", "0.2")
    config = json.loads((tmp_path / "run/config.json").read_text())
    agent = dataclasses.asdict(RSSConfig(exploration=0.2))
    assert config["agent"] == json.loads(json.dumps(agent))  # which has lists for tuples


def test_masks_of_0_and_255_are_not_trained_on(tmp_path, capsys):
    """Nor evaluated on: 255 would be void, and an answer of 0 everywhere perfect."""
    for number in range(2):
        images, labels = tmp_path / f"images/{number}.png", tmp_path / f"labels/{number}.png"
        write_sample(images, labels, random_labels(number, [0, 255]), number)
    (tmp_path / "all.txt").write_text("0\n1\n")
    data = ["--env", "RSS/Folder-ImageReward-v0", "--classes", "2"]
    data += ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    split = str(tmp_path / "all.txt")
    values = ("--label-values", "0", "255")
    network = build_network("tiny-unet", 2, (16, 16))
    description = NetworkDescription.of(
        "tiny-unet", (16, 16), ("class 0", "class 1"), voc_palette(2)
    )
    save_checkpoint(tmp_path, network, description)
    commands = [["--checkpoint", str(tmp_path), *data, "--split", split]] * 2
    commands[1] = [*commands[1], "--full-resolution"]
    for main, arguments in (
        (train.main, ["--out", str(tmp_path / "no"), *data, "--val-split", split]),
        *((evaluate.main, arguments) for arguments in commands),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert "hold only the values 0 and 255" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    for arguments in commands:
        evaluate.main([*arguments, *values, "--json"])
        assert '"images": 2' in capsys.readouterr().out
