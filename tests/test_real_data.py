"""The loaders and the commands on real photographs, where they lie beside the project."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest
from conftest import REAL_DATA
from gymnasium.utils.env_checker import check_env

from agents import train
from rss_env.datasets import open_dataset

SETS = {
    "horses": ("VOC", "weizmann-horses-voc", {"train": 200, "val": 64}),
    "coco128": ("VOC", "coco128-voc21", {"train": 72, "val": 25}),
    "voc2012": ("VOC", "voc2012-sample", {"train": 3, "val": 5}),
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
@pytest.mark.parametrize("name", ["voc2012", "camvid"])
def test_gymnasium_checker_on_real_data(name):
    dataset_name, folder, _ = SETS[name]
    for level in ("ImageReward", "PixelReward"):
        env = gym.make(f"RSS/{dataset_name}-{level}-v0", root=str(REAL_DATA / folder), split="val")
        check_env(env.unwrapped)


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
