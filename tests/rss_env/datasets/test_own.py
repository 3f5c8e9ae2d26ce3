"""Data sets by the names of their user's code, and by those that installed packages give them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rss_agents import data
from rss_env import InputError
from rss_env.datasets import open_dataset
from rss_env.registration import parse_environment_id

CODE = """
import numpy as np
from rss_env.datasets import SegmentationDataset
from rss_env.datasets.base import voc_palette

class Plain(SegmentationDataset):
    def __init__(self, split="train", root=None):
        self.class_names, self.palette = ("a", "b"), voc_palette(2)
        self.identity = ("Plain", split, root)
        self.has_root = root is not None

    has_labels = True

    def __len__(self):
        return 2

    def read(self, index, image_size=None):
        size = image_size or (8, 8)
        return np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)

def pairs(classes=None):
    return [(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))]
"""


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """A package with a data set of its own under a short name."""
    (tmp_path / "plain_data.py").write_text(CODE)
    about = tmp_path / "plain_data-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plain-data\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[rss_env.datasets]\nPlain = plain_data:Plain\nBroken = plain_data:nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_a_class_is_opened_by_either_name():
    for name in ("plain_data:Plain", "Plain"):
        found = open_dataset(name, split="val", root="somewhere")
        assert (len(found), found.identity) == (2, ("Plain", "val", "somewhere"))
        with pytest.raises(InputError, match="unexpected keyword argument 'images'"):
            open_dataset(name, images="x")
    assert parse_environment_id("plain_data:Plain") == ("plain_data:Plain", "ImageReward")
    for name in ("plain_data:Plain", "Plain"):
        assert parse_environment_id(f"RSS/{name}-PixelReward-v0") == (name, "PixelReward")


@pytest.mark.usefixtures("installed")
def test_what_cannot_be_opened_is_told():
    for name, message in (
        ("plain_data:Other", "is not 'module:function'"),
        ("no_such_package:Data", "is not 'module:function'"),
        ("Broken", "data set 'Broken' cannot be loaded: AttributeError"),
        ("object Plain", "was an object of the program that started the run"),
        ("Plane", "unknown data set 'Plane'"),
        ("plain_data:pairs", "say how many classes there are"),
    ):
        with pytest.raises(InputError, match=message):
            open_dataset(name)
    for env in ("RSS/Plane-ImageReward-v0", "RSS/Plain-v0", "Plain", "plain_data"):
        with pytest.raises(InputError, match="unknown environment"):
            parse_environment_id(env)


def test_rss_data_shows_one(installed, capsys):
    sheet = installed / "sheet.png"
    data.main(["info", "plain_data:Plain", "--sheet", str(sheet)])
    assert "plain_data:Plain: 2 samples, 2 classes" in capsys.readouterr().out
    assert sheet.exists()
