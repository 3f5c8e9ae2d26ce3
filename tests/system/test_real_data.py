"""The loaders and the commands on real photographs, where they lie beside the project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from conftest import REAL_DATA
from gymnasium.utils.env_checker import check_env
from PIL import Image

from rss_agents import data, train
from rss_env.datasets import open_dataset

SETS = {
    "horses": ("VOC", "weizmann-horses-voc", {"train": 200, "val": 64}),
    "coco128": ("VOC", "coco128-voc21", {"train": 72, "val": 25}),
    "voc2012": ("VOC", "voc2012-sample", {"train": 3, "val": 5, "train_aug": 10}),
    "context": ("PascalContext", "pascal-context-sample", {"val": 4}),
    "camvid": ("Cityscapes", "camvid-cityscapes", {"train": 367, "val": 101}),
}

pytestmark = pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no data in {REAL_DATA}")


@pytest.mark.parametrize("name", SETS)
def test_every_sample_reads(name):
    dataset_name, folder, sizes = SETS[name]
    for split, size in sizes.items():
        dataset = open_dataset(dataset_name, root=str(REAL_DATA / folder), split=split)
        assert len(dataset) == size
        seen = set()
        for i in range(0, size, max(1, size // 10)):
            image, label = dataset.read(i, (64, 64))
            assert label is not None
            assert image.std() > 0
            seen |= set(np.unique(label).tolist())
        assert len(seen - {255}) > 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["voc2012", "context", "camvid"])
def test_gymnasium_checker_on_real_data(name):
    dataset_name, folder, _ = SETS[name]
    for level in ("ImageReward", "PixelReward"):
        env = gym.make(f"RSS/{dataset_name}-{level}-v0", root=str(REAL_DATA / folder), split="val")
        check_env(env.unwrapped)


def test_real_images_without_labels_take_a_scorer():
    folder = REAL_DATA / "voc2012-sample/VOCdevkit/VOC2012"
    options: dict[str, Any] = {"images": str(folder / "JPEGImages"), "classes": 2}
    labels = str(folder / "SegmentationClass")
    labelled = open_dataset("Folder", **{**options, "classes": 21}, labels=labels)
    assert len(labelled) == 15
    assert labelled.read(3)[1] is not None
    env = gym.make("RSS/Folder-ImageReward-v0", **options, scorer=mean_class)
    env.reset(seed=0)
    actions = np.ones(env.action_space.shape, np.int64)  # type: ignore
    assert env.step(actions)[1] == 1.0
    assert env.unwrapped.reset(seed=0)[0].std() > 0
    assert env.step(actions * 0)[1] == 0.0


def mean_class(images: np.ndarray, action_maps: np.ndarray) -> np.ndarray:
    """A scorer that sees no label: the share of class 1."""
    return action_maps.mean((2, 3), dtype=np.float32)


def test_context_labels_agree_with_those_of_voc():
    """One photograph lies in both samples: the things VOC labels have to have the same names."""
    context: Any = open_dataset(
        "PascalContext", root=str(REAL_DATA / "pascal-context-sample"), split="val", classes=60
    )
    voc: Any = open_dataset("VOC", root=str(REAL_DATA / "voc2012-sample"), split="train_aug")
    names = {path.stem: i for i, path in enumerate(voc.images)}
    rename = {"diningtable": "table"}
    compared = 0
    for i, path in enumerate(context.images):
        if path.stem not in names:
            continue
        here, there = context.read(i)[1], voc.read(names[path.stem])[1]
        for c in set(np.unique(there).tolist()) - {0, 255}:
            name = voc.class_names[c]
            found = here[there == c] == context.class_names.index(rename.get(name, name))
            assert found.mean() > 0.8, (path.stem, name)
            compared += 1
    assert compared


def test_check_and_info_pass_on_real_data(capsys, tmp_path):
    for dataset_name, folder, _ in SETS.values():
        root = ["--root", str(REAL_DATA / folder)]
        data.main(["check", dataset_name, *root])
        assert f"{dataset_name}: no defect" in capsys.readouterr().out
    data.main(["info", "pascal-context", *root_of("context"), "--split", "val",
               "--sheet", str(tmp_path / "sheet.png")])  # fmt: skip
    output = capsys.readouterr().out
    assert "4 samples, 59 classes" in output
    assert (tmp_path / "sheet.png").is_file()


def root_of(name: str) -> list[str]:
    return ["--root", str(REAL_DATA / SETS[name][1])]


def plant_defects(folder: Path) -> list[str]:
    """Ten defects in ten samples of a VOC layout; what the check has to say of each."""
    lists = folder / "ImageSets/Segmentation"
    train = lists / "train.txt"
    names = train.read_text().split()
    images = [folder / "JPEGImages" / f"{name}.jpg" for name in names]
    labels = [folder / "SegmentationClass" / f"{name}.png" for name in names]
    images[0].unlink()
    labels[1].unlink()
    images[2].write_bytes(b"")
    images[3].write_bytes(images[3].read_bytes()[:2000])
    with Image.open(labels[4]) as picture:
        picture.convert("RGB").save(labels[4])
    values = np.array(Image.open(labels[5]))
    values[7, 9] = 42
    Image.fromarray(values).save(labels[5])
    Image.fromarray(np.array(Image.open(labels[6])).astype(np.uint16) + 1000).save(labels[6])
    Image.fromarray(np.array(Image.open(labels[7]))[:-1]).save(labels[7])
    wide = next(i for i in range(8, 60) if np.ptp(Image.open(images[i]).size) > 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # the photograph is to be turned, its label is not
    with Image.open(images[wide]) as picture:
        picture.save(images[wide], exif=exif)
    train.write_text(train.read_text() + "../../../outside\n")
    return [
        f"names the missing file {images[0]}",
        f"names the missing file {labels[1]}",
        f"cannot read image {images[2]}: the file is empty",
        f"cannot read image {images[3]}: ",
        f"label {labels[4]} has mode RGB",
        f"label {labels[5]} holds the value 42 at row 7, column 9",
        f"label {labels[6]} holds the value 1",
        f"but label {labels[7]} is ",
        f"but label {labels[wide]} is ",
        "names '../../../outside', which leads out of the data set",
    ]


def test_check_finds_ten_planted_defects(tmp_path, capsys):
    shutil.copytree(REAL_DATA / "coco128-voc21", tmp_path / "voc", copy_function=shutil.copyfile)
    for path in [tmp_path / "voc", *(tmp_path / "voc").rglob("*")]:
        path.chmod(0o755)  # the original may be read-only
    planted = plant_defects(tmp_path / "voc/VOCdevkit/VOC2012")
    with pytest.raises(SystemExit) as stop:
        data.main(["check", "voc", "--root", str(tmp_path / "voc"), "--split", "train"])
    assert stop.value.code == 1
    output = capsys.readouterr().out
    defects = [line for line in output.splitlines() if line.startswith("defect: ")]
    for expected in planted:
        assert sum(expected in line for line in defects) == 1, expected
    assert len(defects) == len(planted) == 10
    assert "VOC: 10 defect(s)" in output


@pytest.mark.parametrize("name", ["horses", "camvid"])
def test_training_on_real_data(name, tmp_path):
    dataset_name, folder, _ = SETS[name]
    train.main(
        ["--env", f"RSS/{dataset_name}-ImageReward-v0", "--root", str(REAL_DATA / folder),
         "--image-size", "64", "--updates", "3", "--num-images", "4", "--group-size", "4",
         "--out", str(tmp_path / "run")]
    )  # fmt: skip
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["score_queries"] == 3 * 4 * 4 * 4
    assert 0 <= result["miou"] < 1
