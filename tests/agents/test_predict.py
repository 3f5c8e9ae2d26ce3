"""`rss-predict`: what it writes, and what it never writes over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_sample
from PIL import Image

from rss_agents import predict
from rss_agents.networks.checkpoint import NetworkDescription, save_checkpoint
from rss_agents.networks.names import DEFAULT_NETWORK
from rss_env.datasets.base import voc_palette
from rss_env.rendering import HEAD_HEIGHT
from trained_networks import CLASSES, SIZE, trained


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    network = trained(DEFAULT_NETWORK, torch.zeros(2, *SIZE, 3, dtype=torch.uint8), folder)
    description = NetworkDescription.of(DEFAULT_NETWORK, SIZE, CLASSES, voc_palette(3))
    save_checkpoint(folder, network, description)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photographs as PNG, one in a subfolder."""
    for name in ("a", "deep/b"):
        write_sample(tmp_path / f"photos/{name}.png", None, np.zeros((8, 10)))
    return tmp_path / "photos"


def segment(checkpoint: Path, images: Path, out: Path, *arguments: str) -> list[str]:
    """Run rss-predict; the names of all files that the output folder then holds."""
    command = ["--checkpoint", str(checkpoint), "--images", str(images), "--out", str(out)]
    predict.main([*command, *arguments])
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_refused(capsys, message: str, checkpoint: Path, images: Path, out: Path, *more: str):
    before = contents(out.parent)
    with pytest.raises(SystemExit) as stop:
        segment(checkpoint, images, out, *more)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error.partition("rss-predict: error: ")[2]
    assert contents(out.parent) == before


def test_prediction_command(checkpoint, tmp_path):
    pictures = tmp_path / "pictures"
    for name, shape in (("a", (40, 30)), ("deep/b", (16, 16))):
        write_sample(pictures / f"{name}.jpg", None, np.zeros(shape))
    segment(checkpoint, pictures, tmp_path / "out")
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.mode == "P"
        assert image.size == (30, 40)
        assert np.array(image).max() < 3
        assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    with Image.open(tmp_path / "out/deep/b_overlay.png") as image:
        assert image.mode == "RGB"
        assert image.width >= 3 * 256 + 2 * 4  # the image, the classes over it, the classes
        page = np.array(image)
    photograph = np.array(Image.open(pictures / "deep/b.jpg").convert("RGB"))
    shown = page[HEAD_HEIGHT : HEAD_HEIGHT + 256, :256][8::16, 8::16]
    np.testing.assert_array_equal(shown, photograph)
    legend = page[HEAD_HEIGHT + 256 :].reshape(-1, 3)
    for colour in voc_palette(3):
        assert (legend == colour).all(1).any()


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_photographs_are_not_replaced(overwrite, checkpoint, photos, capsys):
    message = "is the folder of the images themselves"
    assert_refused(capsys, message, checkpoint, photos, photos, *overwrite)
    (photos.parent / "link").symlink_to(photos)
    assert_refused(capsys, message, checkpoint, photos, photos.parent / "link", *overwrite)
    assert_refused(capsys, "is one of the images", checkpoint, photos / "a.png", photos, *overwrite)


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_files_of_others_are_not_replaced(overwrite, checkpoint, photos, tmp_path, capsys):
    masks = tmp_path / "masks"
    write_sample(tmp_path / "other/x.png", masks / "deep/b.png", np.ones((8, 10)))
    message = "deep/b.png is there already, and rss-predict did not write it"
    assert_refused(capsys, message, checkpoint, photos, masks, *overwrite)
    links = tmp_path / "links"
    links.mkdir()
    (links / "a.png").symlink_to(tmp_path / "nowhere")
    assert_refused(capsys, "did not write it", checkpoint, photos, links, *overwrite)
    (tmp_path / "file").write_text("mine")
    assert_refused(capsys, "is not a folder", checkpoint, photos, tmp_path / "file", *overwrite)


def test_only_its_own_files_are_overwritten(checkpoint, photos, tmp_path, capsys):
    out = tmp_path / "out"
    names = segment(checkpoint, photos, out)
    assert names == ["a.png", "a_overlay.png", "deep/b.png", "deep/b_overlay.png"]
    assert_refused(capsys, "give --overwrite to replace what it wrote", checkpoint, photos, out)
    write_sample(photos / "a.png", None, np.zeros((4, 6)), seed=1)
    assert segment(checkpoint, photos, out, "--overwrite") == names
    with Image.open(out / "a.png") as image:
        assert image.size == (6, 4)
    with Image.open(out / "a.png") as image:  # a label that somebody corrected by hand
        Image.fromarray(np.array(image)).save(out / "a.png")
    message = "a.png is there already, and rss-predict did not write it"
    assert_refused(capsys, message, checkpoint, photos, out, "--overwrite")


def test_what_it_wrote_is_not_segmented(checkpoint, photos, capsys):
    """Run again and again into a folder among the photographs, it writes the same files."""
    out = photos / "segmented"
    names = segment(checkpoint, photos, out)
    assert len(names) == 4
    assert "a data set of that folder will take what is written for images" in (
        " ".join(capsys.readouterr().err.split())
    )
    for _ in range(2):
        assert segment(checkpoint, photos, out, "--overwrite") == names
    assert segment(checkpoint, photos, photos / "again") == names  # nor what lies elsewhere
    write_sample(out / "mine.png", None, np.zeros((8, 8)))  # in --out there are no photographs
    assert segment(checkpoint, photos, out, "--overwrite") == sorted([*names, "mine.png"])


def test_a_folder_of_nothing_but_its_own(checkpoint, photos, tmp_path, capsys):
    segment(checkpoint, photos, tmp_path / "out")
    message = "holds no image but those in --out or written by rss-predict"
    assert_refused(capsys, message, checkpoint, tmp_path / "out", tmp_path / "again")


def test_a_single_image(checkpoint, photos, tmp_path):
    names = segment(checkpoint, photos / "deep/b.png", tmp_path / "out")
    assert names == ["b.png", "b_overlay.png"]


def test_two_images_that_would_be_one_file(checkpoint, photos, tmp_path, capsys):
    write_sample(photos / "a_overlay.jpg", None, np.zeros((8, 8)))
    message = "would both be written to"
    assert_refused(capsys, message, checkpoint, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()
