"""What values in label files mean: said, or taken for granted and then doubted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from conftest import write_sample
from PIL import Image

from data_command import arguments_of, run
from rss_env.datasets import open_dataset
from rss_env.datasets.scanning import check_dataset
from rss_env.errors import DatasetError, DatasetWarning, InputError
from rss_env.scenes import load_scenes


def labelled(root: Path, labels: list[np.ndarray], classes: str = "ground\nthing\n") -> dict:
    """Arguments of a `Folder` of these labels (H, W)."""
    for number, label in enumerate(labels):
        write_sample(root / f"images/{number}.png", None, label, number)
        (root / "labels").mkdir(exist_ok=True)
        Image.fromarray(label.astype(np.uint8)).save(root / f"labels/{number}.png")
    (root / "classes.txt").write_text(classes)
    names = {"images": "images", "labels": "labels", "classes": "classes.txt"}
    return {key: str(root / name) for key, name in names.items()}


def stripes(*values: int) -> np.ndarray:
    return np.tile(np.repeat(values, 8), (16, 1))


def opened(options: dict, **more: Any) -> None:
    """As trainings and environments open it."""
    gym.make_vec("RSS/Folder-ImageReward-v0", num_envs=1, image_size=16, **options, **more).close()


def test_masks_of_0_and_255_are_a_defect(tmp_path, capsys):
    options = labelled(tmp_path, [stripes(0, 255), stripes(255, 0), stripes(0, 0)])
    code, output = run(capsys, "check", "folder", *arguments_of(options))
    assert code == 1
    assert "hold only the values 0 and 255" in output
    assert "--label-values 0 255 (0 is 'ground' and 255 'thing')" in output
    with pytest.raises(DatasetError, match="only the values 0 and 255.*nothing is 'thing'"):
        opened(options)
    with pytest.raises(DatasetError, match="only the values 0 and 255"):
        run_info(capsys, options)
    code, output = run(
        capsys, "check", "folder", *arguments_of(options), "--label-values", *"0 255".split()
    )
    assert code == 0, output
    assert "value 0 is ground; 255 is thing; nothing is void" in output
    assert "never occur" not in output
    opened(options, label_values=(0, 255))
    opened(options, void_values=255)  # it was meant


def run_info(capsys, options: dict) -> None:
    code, output = run(capsys, "info", "folder", *arguments_of(options))
    assert code == 2
    raise DatasetError(output)


def test_labels_are_read_by_the_values_that_were_said(tmp_path):
    options = labelled(tmp_path, [stripes(0, 255, 7, 200)], "a\nb\nc\n")
    dataset = open_dataset("Folder", **options, label_values=["0", "255,7", 200])
    np.testing.assert_array_equal(dataset.read(0)[1], stripes(0, 1, 1, 2))
    dataset = open_dataset("Folder", **options, label_values=(200, 0, (7,)), void_values="255")
    np.testing.assert_array_equal(dataset.read(0)[1], stripes(1, 255, 2, 0))


@pytest.mark.parametrize("label", ["uint16", "uint8"])
def test_zero_may_mean_unlabelled(tmp_path, capsys, label):
    options = labelled(tmp_path, [stripes(0, 1, 2)])
    Image.fromarray(stripes(0, 1, 2).astype(label)).save(tmp_path / "labels/0.png")
    dataset = open_dataset("Folder", **options, void_values=0)
    np.testing.assert_array_equal(dataset.read(0)[1], stripes(255, 0, 1))
    assert dataset.identity != open_dataset("Folder", **options).identity
    code, output = run(capsys, "check", "folder", *arguments_of(options), "--void-values", "0")
    assert code == 0
    assert "note: all: value 1 is ground; 2 is thing; 0 is void" in output
    Image.fromarray(stripes(0, 1, 255).astype(label)).save(tmp_path / "labels/0.png")
    with pytest.raises(DatasetError, match="value 255 .* valid: 1..2, and 0 for void"):
        open_dataset("Folder", **options, void_values="0").read(0)
    dataset = open_dataset("Folder", **options, void_values=(0, 255))
    np.testing.assert_array_equal(dataset.read(0)[1], stripes(255, 0, 255))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_in_several_channels(tmp_path, mode):
    options = labelled(tmp_path, [stripes(0, 255)])
    mask = Image.fromarray(stripes(0, 255).astype(np.uint8)).convert(mode)
    mask.save(tmp_path / "labels/0.png")
    dataset = open_dataset("Folder", **options, label_values=(0, 255))
    np.testing.assert_array_equal(dataset.read(0)[1], stripes(0, 1))
    with pytest.raises(DatasetError, match="three channels with --label-values"):
        open_dataset("Folder", **options).read(0)
    mask.putpixel((1, 1), {"RGB": (0, 0, 1), "RGBA": (0, 0, 0, 9), "LA": (0, 9)}[mode])
    mask.save(tmp_path / "labels/0.png")
    with pytest.raises(DatasetError, match=f"has mode {mode}"):
        open_dataset("Folder", **options, label_values=(0, 255)).read(0)


def test_nothing_may_be_void(tmp_path):
    options = labelled(tmp_path, [stripes(0, 1, 255)])
    with pytest.raises(DatasetError, match=r"value 255 .* valid: 0..1 \(2 classes"):
        open_dataset("Folder", **options, void_values="none").read(0)


def test_mixed_masks_are_a_defect(tmp_path, capsys):
    options = labelled(tmp_path, [stripes(0, 1), stripes(0, 0), stripes(0, 255), stripes(1, 1)])
    code, output = run(capsys, "check", "folder", *arguments_of(options))
    assert code == 1
    assert "labels are of two kinds: 1 file(s) hold only 0 and 255" in output
    assert f"{tmp_path / 'labels/2.png'} for one" in output
    assert "and 2 hold classes and no 255" in output
    assert "--label-values 0 1,255" in output
    with pytest.raises(DatasetError, match="of two kinds"):
        opened(options)
    opened(options, label_values=("0", "1,255"))
    opened(options, void_values=["255"])


def test_void_beside_classes_is_void(tmp_path):
    options = labelled(tmp_path, [stripes(0, 255, 1), stripes(0, 255), stripes(0, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(options)
    (report,) = check_dataset("Folder", progress=False, **options)
    assert (report.faults, report.warnings) == ((), ())


def test_a_class_that_may_be_the_void_is_warned_of(tmp_path, capsys):
    options = labelled(tmp_path, [stripes(0, 1, 255, 1)], "a\nb\nc\n")
    text = "nothing is 'c', while 25% of the pixels are 255"
    code, output = run(capsys, "check", "folder", *arguments_of(options))
    assert code == 0
    assert f"warning: all: the labels may be read wrongly: {text}" in output
    with pytest.warns(DatasetWarning, match=text):
        opened(options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(options, void_values="255")


def test_who_has_said_what_void_is_does_not_speak_for_others(tmp_path):
    """Though both share the decoded images while one of them holds these."""
    options = labelled(tmp_path, [stripes(0, 255)])
    held = load_scenes(open_dataset("Folder", **options, void_values=255), (16, 16))
    with pytest.raises(DatasetError, match="only the values 0 and 255"):
        load_scenes(open_dataset("Folder", **options), (16, 16))
    assert len(held) == 1


def test_other_data_sets_are_not_doubted(voc_root):
    dataset = open_dataset("VOC", root=str(voc_root))
    nothing = np.zeros((1, 20), np.int64)
    doubts = dataset.doubts(np.hstack([[[5]], nothing]), np.array([9]))
    assert (doubts.faults, doubts.warnings) == ((), ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_values": (0, 1, 2)}, "to 3 classes, but there are 2 .*classes.txt"),
        ({"label_values": (0, 0)}, "value 0 to two classes"),
        ({"label_values": ("0,3", "3")}, "value 3 to two classes"),
        ({"label_values": (0, -1)}, "whole numbers of 0..65535, got -1"),
        ({"label_values": (0, 70000)}, "whole numbers of 0..65535, got 70000"),
        ({"label_values": (0, True)}, "whole numbers of 0..65535, got True"),
        ({"label_values": (0, "x")}, "whole numbers of 0..65535, got 'x'"),
        ({"label_values": (0, 1.0)}, "whole numbers of 0..65535, got 1.0"),
        ({"label_values": ()}, "label_values must be values"),
        ({"label_values": {0: 1}}, "label_values must be values"),
        ({"label_values": (0, 255), "void_values": 255}, "value 255 is in void_values and in"),
        ({"void_values": 1}, "void_values 1 lies among the values 0..1"),
        ({"void_values": ("none", 255)}, "must be 'none' or values"),
        ({"void_values": "nothing"}, "whole numbers"),
        ({"void_values": "1,2"}, "colours as R,G,B of 0..255, got '1,2'"),
        ({"void_values": "1,2,256"}, "colours as R,G,B of 0..255"),
        ({"void_values": "1,2,3"}, "colour 1,2,3, but the classes have no colours"),
    ],
)
def test_values_that_are_none_are_refused(tmp_path, arguments, message):
    options = labelled(tmp_path, [stripes(0, 1)])
    with pytest.raises(InputError, match=message):
        open_dataset("Folder", **options, **arguments)
