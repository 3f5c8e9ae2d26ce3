"""Images in other shapes than the one that is trained on: said, fitted in, and predicted so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rss_agents import predict, train
from rss_agents.command_line import DataConfig
from rss_agents.evaluate import EvalConfig, evaluate_checkpoints, report
from rss_agents.networks.checkpoint import load_checkpoint
from rss_env.datasets.resizing import fit_image, window_of
from training_runs import TINY

pytestmark = pytest.mark.usefixtures("one_thread")


def write_photographs(folder: Path, *sizes: tuple[int, int], turned: bool = False) -> list[str]:
    """Photographs and labels (H, W) of sizes; those that are turned lie on their side in files."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    names = [f"{number}" for number in range(len(sizes))]
    for number, (height, width) in enumerate(sizes):
        random = np.random.default_rng(number)
        blocks = random.integers(0, 3, (height // 8, width // 8), dtype=np.uint8)
        label = blocks.repeat(8, 0).repeat(8, 1)
        image, exif = Image.fromarray(np.stack([label * 80] * 3, 2)), Image.Exif()
        if turned:
            image, exif[0x0112] = image.rotate(90, expand=True), 6
        image.save(folder / f"images/{number}.jpg", exif=exif)
        Image.fromarray(label).save(folder / f"labels/{number}.png")
    (folder / "list.txt").write_text("\n".join(names))
    return [
        "--env", "RSS/Folder-ImageReward-v0", "--images", str(folder / "images"),
        "--labels", str(folder / "labels"), "--classes", "3",
    ]  # fmt: skip


def start(folder: Path, data: list[str], *options: str) -> None:
    val = ["--val-split", str(folder / "list.txt"), "--algo", "psl", "--updates", "1"]
    train.main([*data, *val, *TINY, "--out", str(folder / "run"), *options])


def miou_of(run: Path, data: DataConfig, **options: Any) -> float:
    """What rss-eval says of a run, on all images of some data."""
    config = EvalConfig((run,), data, split="all", **options)
    return report(config, evaluate_checkpoints(config)[0])["miou"]


@pytest.mark.parametrize(
    ("sizes", "turned", "options", "words"),
    [
        ([(96, 64)] * 2, False, ["--image-size", "64"],
         "note: images are stretched to 64x64 (height x width): what one of 96x64 shows gets 1.50 "
         "times wider; --image-size 96 64 keeps"),
        ([(96, 64)] * 2, True, ["--image-size", "96", "96"],
         "what one of 96x64 shows gets 1.50 times wider; --image-size 96 64 keeps"),
        ([(64, 128)], False, ["--image-size", "96"], "2.00 times taller; --image-size 64 128"),
        ([(64, 128), (128, 64)], False, ["--image-size", "96"], "--resize pad keeps their shape"),
        ([(64, 128)], False, ["--image-size", "16", "32"], None),
        ([(64, 72)], False, ["--image-size", "16"], None),
        ([(64, 128)], False, ["--resize", "pad"], None),
    ],
)  # fmt: skip
def test_a_training_says_that_it_stretches_images(sizes, turned, options, words, tmp_path, capsys):
    start(tmp_path, write_photographs(tmp_path, *sizes, turned=turned), *options)
    error = capsys.readouterr().err
    if words is None:
        assert "note:" not in error
    else:
        assert words in error
        assert error.index("note:") < error.index("0/1")  # before the training


def test_a_network_of_fitted_images_is_evaluated_and_used_so(tmp_path, capsys):
    data = write_photographs(tmp_path, (96, 32), (32, 96))
    start(tmp_path, data, "--resize", "pad")
    miou = json.loads((tmp_path / "run/result.json").read_text())["miou"]
    run, device = tmp_path / "run", torch.device("cpu")
    network, description = load_checkpoint(run)
    assert description.resize == "pad"
    folder = DataConfig("RSS/Folder-ImageReward-v0", images=data[3], labels=data[5], classes="3")
    assert miou_of(run, folder) == pytest.approx(miou)
    found = miou_of(run, folder, full_resolution=True)
    out = tmp_path / "segmented"
    predict.main(["--checkpoint", str(run), "--images", data[3], "--out", str(out)])
    right = labelled = predicted = torch.zeros(3)
    for name in "01":
        pixels = np.array(Image.open(tmp_path / f"images/{name}.jpg"))
        shape = (pixels.shape[0], pixels.shape[1])
        fitted = torch.from_numpy(fit_image(pixels, (16, 16)))[None]
        rows, columns = window_of(shape, (16, 16))
        with torch.no_grad():
            values = network.pixel_values(fitted.to(device))[:, :, rows, columns]
        values = torch.nn.functional.interpolate(values, shape, mode="bilinear")
        answer = torch.from_numpy(np.array(Image.open(out / f"{name}.png"))).long()
        assert torch.equal(answer, values[0].argmax(0))
        label = torch.from_numpy(np.array(Image.open(tmp_path / f"labels/{name}.png"))).long()
        right = right + torch.bincount(label[label == answer], minlength=3)
        labelled = labelled + torch.bincount(label.flatten(), minlength=3)
        predicted = predicted + torch.bincount(answer.flatten(), minlength=3)
    assert float((right / (labelled + predicted - right)).mean()) == pytest.approx(found)


@pytest.mark.parametrize("algo", ["psl", "rss"])
def test_parts_are_learned_from_and_whole_images_answered(algo, tmp_path):
    data = write_photographs(tmp_path, (64, 96), (64, 96))
    start(tmp_path, data, "--algo", algo, "--image-size", "32", "48", "--crop-size", "16")
    run = tmp_path / "run"
    assert load_checkpoint(run)[1].image_size == (32, 48)
    folder = DataConfig("RSS/Folder-ImageReward-v0", images=data[3], labels=data[5], classes="3")
    miou = json.loads((run / "result.json").read_text())["miou"]
    assert miou_of(run, folder) == pytest.approx(miou)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--crop-size 32", "crop_size must be at most image_size, 16x16, got 32x32"),
        ("--crop-size 8 --algo sb3-ppo", "sb3-ppo is trained by Stable-Baselines3, without crop"),
        ("--crop-size 16 --network fpn/resnet18 --image-size 64", "does not take 16x16 images"),
    ],
)
def test_parts_that_cannot_be_shown_are_refused(options, words, tmp_path, capsys):
    with pytest.raises(SystemExit):
        train.main([*TINY, "--updates", "1", "--out", str(tmp_path / "run"), *options.split()])
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
