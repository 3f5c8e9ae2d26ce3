"""`rss-eval`: what it measures, on which data, and what it shows."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rss_agents import evaluate
from rss_agents.command_line import DataConfig
from rss_agents.networks.checkpoint import NetworkDescription, save_checkpoint
from rss_agents.training.config import TrainConfig
from rss_env.datasets.base import voc_palette
from trained_networks import SIZE, answer_with_every_class, trained
from training_runs import run

NAMES = ("ground", "tree", "house")  # of `folder_data`
ENV = "RSS/Folder-ImageReward-v0"


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory, folder_data: dict[str, str]) -> Path:
    """What rss-train leaves of a run on a folder that rss-eval reads."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    black = torch.zeros(2, *SIZE, 3, dtype=torch.uint8)
    network = trained("tiny-unet-silu", black, folder, answer_with_every_class)
    description = NetworkDescription.of("tiny-unet-silu", SIZE, NAMES, voc_palette(3))
    save_checkpoint(folder, network, description)
    (folder.parent / "val.txt").write_text("photo 3\nphoto 4\n")
    options: dict[str, Any] = dict(folder_data)
    data = DataConfig(ENV, **options)
    config = TrainConfig(folder, data, val_split=str(folder.parent / "val.txt"))
    text = json.dumps(dataclasses.asdict(config) | {"out": str(folder)})
    (folder / "config.json").write_text(text)
    return folder


def evaluated(capsys, *arguments: object) -> Any:
    """The line of JSON of rss-eval."""
    capsys.readouterr()
    evaluate.main([*map(str, arguments), "--json"])
    return json.loads(capsys.readouterr().out)


def assert_refused(capsys, message: str, *arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        evaluate.main([*map(str, arguments)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.partition("rss-eval: error: ")[2]


def described(folder_data: dict[str, str], **others: object) -> list[str]:
    options = {"env": ENV, "split": "all", **folder_data, **others}
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


def test_evaluation_command_agrees_with_training(tmp_path, capsys):
    result = run(tmp_path / "run")
    for arguments in ((), ("--env", result["env"])):
        printed = evaluated(capsys, "--checkpoint", tmp_path / "run", *arguments)
        assert printed["miou"] == pytest.approx(result["miou"], abs=1e-12)
        assert printed["pixel_accuracy"] == pytest.approx(result["pixel_accuracy"], abs=1e-12)
        assert (printed["env"], printed["split"]) == (result["env"], "val")
        assert sum(printed["class_pixels"].values()) > 0


def test_a_run_alone_is_measured_on_its_own_validation_images(a_run, folder_data, capsys):
    own = evaluated(capsys, "--checkpoint", a_run)
    assert own["images"] == 2
    assert own["split"] == str(a_run.parent / "val.txt")
    of_file = evaluated(capsys, "--checkpoint", a_run / "model.safetensors")
    assert of_file["class_iou"] == own["class_iou"]
    every = evaluated(capsys, "--checkpoint", a_run, "--split", "all")  # of the same data
    assert every["images"] == 5
    from_scratch = evaluated(capsys, "--checkpoint", a_run, *described(folder_data))
    assert from_scratch["class_iou"] == every["class_iou"]


def test_a_checkpoint_in_no_run_needs_an_environment(a_run, folder_data, tmp_path, capsys):
    shutil.copy(a_run / "model.safetensors", tmp_path / "alone.safetensors")
    alone = tmp_path / "alone.safetensors"
    assert_refused(capsys, "to say what to evaluate on; give --env", "--checkpoint", alone)
    assert evaluated(capsys, "--checkpoint", alone, *described(folder_data))["images"] == 5


def test_no_code_runs_because_a_run_names_it(a_run, tmp_path, capsys, monkeypatch):
    shutil.copytree(a_run, tmp_path / "run")
    options = json.loads((a_run / "config.json").read_text())
    options["data"]["env"] = "a_module_of_theirs:Data"
    (tmp_path / "run/config.json").write_text(json.dumps(options))
    (tmp_path / "a_module_of_theirs.py").write_text("raise AssertionError")
    monkeypatch.syspath_prepend(tmp_path)
    message = "names the env 'a_module_of_theirs:Data', which is code"
    assert_refused(capsys, message, "--checkpoint", tmp_path / "run")


def test_classes_in_another_order_are_matched_by_name(a_run, folder_data, tmp_path, capsys):
    """The same labels, with the classes in another order in list and files."""
    place = [2, 0, 1]  # of each class of NAMES
    labels = tmp_path / "labels"
    labels.mkdir()
    for path in Path(folder_data["labels"]).iterdir():
        values = np.array(Image.open(path))
        moved = np.where(values == 255, 255, np.take(place, values.clip(0, 2))).astype(np.uint8)
        Image.fromarray(moved).save(labels / path.name)
    names = [name for _, name in sorted(zip(place, NAMES, strict=True))]
    classes = tmp_path / "classes.txt"
    classes.write_text("\n".join(names))
    expected = evaluated(capsys, "--checkpoint", a_run, *described(folder_data))
    for more in ((), ("--full-resolution",)):
        command = ["--checkpoint", a_run, *described(folder_data, labels=labels, classes=classes)]
        evaluate.main([*map(str, command), "--json", *more])
        captured = capsys.readouterr()
        found = json.loads(captured.out)
        assert list(found["class_iou"]) == names
        assert "matched by name: ground, tree, house against tree, house, ground" in captured.err
        if not more:
            assert found["miou"] == pytest.approx(expected["miou"])
            assert found["class_iou"] == pytest.approx(expected["class_iou"])


def test_other_classes_are_refused(a_run, folder_data, tmp_path, capsys):
    classes = tmp_path / "classes.txt"
    classes.write_text("ground\ntree\ncar\n")
    message = "0 ground, 1 tree, 2 house; the data's are 0 ground, 1 tree, 2 car"
    assert_refused(capsys, message, "--checkpoint", a_run, *described(folder_data, classes=classes))
    assert evaluated(capsys, "--checkpoint", a_run, *described(folder_data, classes=3))


def test_the_table_and_the_pictures(a_run, tmp_path, capsys):
    capsys.readouterr()
    command = ["--checkpoint", str(a_run), "--out", str(tmp_path / "out"), "--worst", "1"]
    evaluate.main(command)
    printed = capsys.readouterr().out
    found = evaluated(capsys, "--checkpoint", a_run)
    lines = [line.split() for line in printed.splitlines()]
    assert ["class", "name", "IoU", "precision", "recall", "pixels", "share"] in lines
    for number, name in enumerate(NAMES):
        (row,) = [line for line in lines if line[:2] == [str(number), name]]
        numbers = [found[key][name] for key in ("class_iou", "class_precision", "class_recall")]
        assert row[2:5] == ["-" if n is None else f"{n:.4f}" for n in numbers]
        assert row[5] == str(found["class_pixels"][name])
    assert f"mIoU {found['miou']:.4f} over" in printed
    assert "photo 3.png" in printed
    pictures = {path.name: np.array(Image.open(path)) for path in (tmp_path / "out").iterdir()}
    assert pictures.keys() == {"first-confusion.png", "first-worst.png"}
    assert all(picture.std() > 10 for picture in pictures.values())
    assert_refused(capsys, "give --overwrite", *command)
    evaluate.main([*command, "--overwrite", "--full-resolution"])
    (tmp_path / "out/first-worst.png").write_text("mine")
    assert_refused(capsys, "rss-eval did not write it", *command, "--overwrite")
    assert (tmp_path / "out/first-worst.png").read_text() == "mine"


def test_pictures_among_the_data_are_refused(a_run, folder_data, capsys):
    out = Path(folder_data["images"]) / "report"
    assert_refused(capsys, "which holds the data", "--checkpoint", a_run, "--out", out)
    assert not out.exists()


def test_several_checkpoints_side_by_side(a_run, capsys):
    other = a_run.parent / "second"
    shutil.copytree(a_run, other, dirs_exist_ok=True)
    capsys.readouterr()
    evaluate.main(["--checkpoint", str(a_run), str(other)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["class", "IoU", "of", "first", "second"] in lines
    (row,) = [line for line in lines if line[:2] == ["-", "mIoU"] and len(line) == 4]
    assert row[2] == row[3]
    evaluate.main(["--checkpoint", str(a_run), str(other), "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["checkpoint"] for line in found] == [str(a_run), str(other)]


def test_views_change_answers_and_bad_ones_are_refused(a_run, capsys):
    plain = evaluated(capsys, "--checkpoint", a_run)
    views = ("--flip", "--image-scales", "1", "1.5")
    assert evaluated(capsys, "--checkpoint", a_run, *views)["class_iou"] != plain["class_iou"]
    assert_refused(capsys, "image_scales must be in", "--checkpoint", a_run, "--image-scales", "99")


def test_a_run_may_be_named_from_home(a_run, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(a_run.parent))
    assert evaluated(capsys, f"--checkpoint=~/{a_run.name}")["checkpoint"] == str(a_run)
