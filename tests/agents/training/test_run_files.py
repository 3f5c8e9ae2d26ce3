"""A run is started where nothing of anybody else's would be lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rss_agents.command_line import DataConfig
from rss_agents.training.config import TrainConfig
from rss_agents.training.run_files import check_run_folder
from rss_agents.training.setup import open_run
from rss_env.errors import InputError

OWN_CONFIG = json.dumps({"out": "run", "algo": "rss", "updates": 4})


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["overlay.png", "result.json", "model.safetensors", "film.gif"])
def test_files_of_no_run_are_not_replaced(name, overwrite, tmp_path):
    (tmp_path / "log.txt").write_text("harmless")
    check_run_folder(tmp_path, overwrite=overwrite)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is there already and of no run"):
        check_run_folder(tmp_path, overwrite=overwrite)


def test_folders_of_no_run_are_not_removed(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    with pytest.raises(InputError, match="tensorboard is there already and of no run"):
        TrainConfig(tmp_path, overwrite=True).check()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"architectures": ["Bert"]}', "[" * 10**5])
def test_a_configuration_of_something_else(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config.json .* rss-train did not write it"):
        check_run_folder(tmp_path, overwrite=True)


def test_a_run_is_replaced_on_demand(tmp_path):
    for name in ("config.json", "overlay.png"):
        (tmp_path / name).write_text(OWN_CONFIG)
    check_run_folder(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="already holds a run"):
        check_run_folder(tmp_path, overwrite=False)


def test_a_run_among_its_data_is_refused(tmp_path, folder_data):
    images, labels = Path(folder_data["images"]), Path(folder_data["labels"])
    data = DataConfig(
        "RSS/Folder-ImageReward-v0",
        images=str(images),
        labels=str(labels),
        classes=folder_data["classes"],
    )
    for out in (images, labels, images / "runs/first"):
        with pytest.raises(InputError, match="--out .* lies in .*, which holds the data"):
            TrainConfig(out, data).check()
    TrainConfig(images.parent / "run", data).check()


def test_a_run_in_a_folder_of_a_known_layout_is_refused(voc_root):
    """Nothing names that folder; it holds the files of the split."""
    data = DataConfig("RSS/VOC-ImageReward-v0", root=str(voc_root))
    out = voc_root / "VOCdevkit/VOC2012/JPEGImages/run"
    with pytest.raises(InputError, match="JPEGImages, which holds the data"):
        open_run(TrainConfig(out, data, image_size=(16,), scales=(4,)))
    assert not out.exists()


def test_the_run_that_is_started_from_is_not_replaced(tmp_path):
    (tmp_path / "config.json").write_text(OWN_CONFIG)
    for source in (tmp_path, tmp_path / "best.safetensors"):
        with pytest.raises(InputError, match="is where --start-from .* lies"):
            TrainConfig(tmp_path, start_from=str(source), overwrite=True).check()
