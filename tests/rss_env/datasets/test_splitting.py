"""Lists of a training and a validation split, made for images that come without."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import write_sample

from data_command import run
from rss_env.datasets import open_dataset
from rss_env.datasets.base import FileDataset


@pytest.fixture
def images(tmp_path) -> str:
    for number in range(10):
        folder = "a" if number % 2 else "b"
        write_sample(tmp_path / f"photos/{folder}/{number}.png", None, np.zeros((8, 8)))
    return str(tmp_path / "photos")


def paths(images: str, split: str) -> set:
    data = open_dataset("Folder", images=images, classes=2, split=split)
    assert isinstance(data, FileDataset)
    return set(data.images)


def test_every_image_is_in_one_list(tmp_path, capsys, images):
    lists = [str(tmp_path / name) for name in ("train.txt", "val.txt")]
    code, output = run(
        capsys, "split", "--images", images, "--val-share", "0.3", "--out", str(tmp_path)
    )
    assert code == 0, output
    assert f"wrote {lists[0]}: 7 image(s)" in output
    train, val = (paths(images, split) for split in lists)
    assert (len(train), len(val)) == (7, 3)
    assert train | val == paths(images, "all")
    for name, seed, alike in (("again", "0", True), ("other", "1", False)):
        folder = tmp_path / name
        folder.mkdir()
        arguments = ["--images", images, "--val-share", "0.3", "--seed", seed]
        assert run(capsys, "split", *arguments, "--out", str(folder))[0] == 0
        assert (paths(images, str(folder / "val.txt")) == val) == alike


def test_lists_are_not_overwritten(tmp_path, capsys, images):
    (tmp_path / "val.txt").write_text("mine")
    code, output = run(capsys, "split", "--images", images, "--out", str(tmp_path))
    assert code == 2
    assert "val.txt is there already" in output
    assert (tmp_path / "val.txt").read_text() == "mine"
    assert not (tmp_path / "train.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--val-share", "1"], "val_share must be between 0 and 1, got 1.0"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--out", "none"], "none is no folder"),
        (["--labels", "none"], "labels folder none does not exist"),
    ],
)
def test_lists_that_cannot_be(capsys, images, arguments, message):
    code, output = run(capsys, "split", "--images", images, *arguments)
    assert code == 2
    assert message in output
