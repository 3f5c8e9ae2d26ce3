"""Windows of large images: blended, they give what the network gives of the whole image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_sample
from PIL import Image
from torch import nn

from rss_agents import evaluate, predict
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, load_checkpoint, save_checkpoint
from rss_agents.networks.segmentation_network import SegmentationNetwork, upsample
from rss_agents.networks.tile_config import TileConfig
from rss_agents.networks.tiling import blended_bands, predict_tiles, window_starts, window_weight
from rss_env.datasets.base import voc_palette
from rss_env.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
WINDOW, CLASSES = (16, 24), 4
SIZES = [(16, 24), (47, 65), (16, 25), (90, 24), (33, 200), (5, 61), (40, 7), (1, 1)]


def convolution(side: int) -> SegmentationNetwork:
    """A network of one convolution: it sees side // 2 pixels around."""
    torch.manual_seed(side)
    body = nn.Conv2d(3, CLASSES, side, padding=side // 2)
    return SegmentationNetwork(body, CLASSES).eval()


def random_image(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(sum(size)).integers(0, 256, (*size, 3), np.uint8)


def whole(network: SegmentationNetwork, image: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return network.pixel_values(torch.from_numpy(image)[None])[0]


def in_windows(network: SegmentationNetwork, image: np.ndarray, **options: Any) -> torch.Tensor:
    return torch.cat(list(blended_bands(network, image, WINDOW, **options)), 1)


@pytest.mark.parametrize("overlap", [0.0, 0.04, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_network_that_sees_one_pixel_says_the_same(size, overlap):
    network, image = convolution(1), random_image(size)
    expected = whole(network, image)
    for batch in (1, 3):
        values = in_windows(network, image, overlap=overlap, batch=batch)
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-5)
    answer = predict_tiles(network, image, WINDOW, TileConfig(overlap=overlap))
    assert answer.dtype == np.uint8
    assert (answer == expected.argmax(0).numpy()).mean() > 0.99  # but for ties within rounding


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_windows_drop_is_all_that_they_see_wrongly(size):
    """At an overlap of a half, 4 and 6 pixels are dropped: more than 3x3 and 5x5 look beyond."""
    image = random_image(size)
    for side in (3, 5):
        network, seen = convolution(side), side // 2
        inside = (..., slice(seen, size[0] - seen), slice(seen, size[1] - seen))
        values, expected = in_windows(network, image), whole(network, image)
        torch.testing.assert_close(values[inside], expected[inside], rtol=1e-4, atol=1e-5)


def test_a_network_that_sees_further_shows_no_seams():
    """Windows next to each other differ where they meet; those that overlap fade."""
    network, image = convolution(15), np.full((64, 96, 3), 250, np.uint8)

    def largest_step(overlap: float) -> float:
        values = in_windows(network, image, overlap=overlap)[:, 16:-16, 24:-24]
        return max(float(values.diff(dim=axis).abs().max()) for axis in (1, 2))

    assert largest_step(0.5) < 0.3 * largest_step(0.0)


def test_bands_are_no_higher_than_a_window():
    bands = list(blended_bands(convolution(1), random_image((201, 40)), WINDOW))
    assert all(band.shape[0] == CLASSES and band.shape[2] == 40 for band in bands)
    assert max(band.shape[1] for band in bands) <= WINDOW[0]
    assert sum(band.shape[1] for band in bands) == 201


def test_at_another_scale_windows_see_more_or_less():
    """At a half, it is as if the whole image had been made half as large."""
    network, image = convolution(1), random_image((80, 120))
    half = np.array(Image.fromarray(image).resize((60, 40), Image.Resampling.BILINEAR))
    seen: list[torch.Size] = []
    network.body.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    values = in_windows(network, image, scale=0.5)
    assert {tuple(shape[2:]) for shape in seen} == {WINDOW}
    with torch.no_grad():
        expected = upsample(whole(network, half)[None], (80, 120))[0]
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    assert in_windows(network, image, scale=2.0).shape == (CLASSES, 80, 120)
    assert in_windows(network, image, scale=16.0).shape == (CLASSES, 80, 120)
    assert in_windows(network, image, scale=1 / 16).shape == (CLASSES, 80, 120)


def test_what_classes_are_worth_is_blended_as_well():
    network = convolution(1)
    beliefs = torch.tensor([0.7, 0.2, 0.05, 0.05]).view(1, 4, 1, 1).expand(1, 4, 8, 8)
    network.decide.observe(beliefs, "miou")
    image = random_image((30, 50))
    expected = whole(network, image)
    assert expected.abs().max() < 30
    torch.testing.assert_close(in_windows(network, image), expected, rtol=1e-4, atol=1e-5)


def test_windows_cover_a_side_and_overlap_enough():
    for length, window, overlap in [(9, 9, 4), (10, 9, 4), (100, 9, 8), (57, 8, 0), (1000, 13, 6)]:
        starts = window_starts(length, window, overlap)
        steps = np.diff(starts)
        assert starts[0] == 0
        assert starts[-1] == length - window
        assert ((steps > 0) & (steps <= window - overlap)).all()


def test_weights_of_neighbours_add_up_to_one():
    for window, overlap in [(16, 8), (16, 7), (24, 6), (9, 1), (9, 4)]:
        left = window_weight(window, overlap, first=True, last=False)
        right = window_weight(window, overlap, first=False, last=True)
        torch.testing.assert_close(left[-overlap:] + right[:overlap], torch.ones(overlap))
        dropped = overlap // 4
        assert (right[:dropped] == 0).all()
        assert (left[: window - overlap] == 1).all()
        assert (right[dropped:].diff() >= 0).all()
    assert (window_weight(5, 0, first=False, last=False) == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, r"scale must be in 0.0625..16, got 0.0"),
        ({"scale": float("nan")}, "scale must be in 0.0625..16, got nan"),
        ({"scale": 17.0}, "got 17"),
        ({"overlap": -0.1}, r"overlap must be in 0..0.9, got -0.1"),
        ({"overlap": 1.0}, "got 1.0"),
    ],
)
def test_what_makes_no_windows_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        predict_tiles(convolution(1), random_image((20, 30)), WINDOW, TileConfig(**options))
    with pytest.raises(InputError, match=message):
        TileConfig(tiles=True, **options).check()


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    torch.manual_seed(0)
    names = ("ground", "tree", "house")
    description = NetworkDescription.of("tiny-unet", (16, 16), names, voc_palette(3))
    (tmp_path / "run").mkdir()
    network = build_network("tiny-unet", 3, (16, 16)).eval()
    with torch.no_grad():  # so that all classes are answered
        network.body.head.weight.mul_(50)  # pyright: ignore
        network.body.head.bias.zero_()  # pyright: ignore
        mean = network.pixel_values(torch.from_numpy(random_image((64, 64)))[None]).mean((0, 2, 3))
        network.body.head.bias.sub_(mean)  # pyright: ignore
    save_checkpoint(tmp_path / "run", network, description)
    return tmp_path / "run"


def test_the_commands_look_at_windows_if_asked(checkpoint, tmp_path, folder_data, capsys):
    pictures = tmp_path / "pictures"
    write_sample(pictures / "a.png", None, np.zeros((50, 41)))
    common = ["--checkpoint", str(checkpoint), "--images", str(pictures)]
    predict.main([*common, "--out", str(tmp_path / "whole")])
    predict.main([*common, "--out", str(tmp_path / "windows"), "--tiles", "--overlap", "0.25"])
    maps = [np.array(Image.open(tmp_path / name / "a.png")) for name in ("whole", "windows")]
    assert maps[0].shape == maps[1].shape == (50, 41)
    assert (maps[0] != maps[1]).any()
    network, _ = load_checkpoint(checkpoint)
    image = np.array(Image.open(pictures / "a.png"))
    assert (maps[1] == predict_tiles(network, image, (16, 16), TileConfig(overlap=0.25))).all()

    (tmp_path / "list.txt").write_text("photo 0\nphoto 3\n")
    data = [f"--{name}={folder_data[name]}" for name in ("images", "labels", "classes")]
    command = ["--checkpoint", str(checkpoint), "--env", "RSS/Folder-ImageReward-v0", *data]
    command += ["--split", str(tmp_path / "list.txt"), "--full-resolution", "--json"]
    capsys.readouterr()
    evaluate.main([*command, "--tiles", "--scale", "0.5"])
    found = json.loads(capsys.readouterr().out)
    right, valid = 0, 0
    for name in ("photo 0", "photo 3"):
        image = np.array(Image.open(f"{folder_data['images']}/{name}.png"))
        label = np.array(Image.open(f"{folder_data['labels']}/{name}.png"))
        answer = predict_tiles(network, image, (16, 16), TileConfig(scale=0.5))
        right += int(((answer == label) & (label != 255)).sum())
        valid += int((label != 255).sum())
    assert found["pixel_accuracy"] == pytest.approx(right / valid)
    evaluate.main(command)
    assert json.loads(capsys.readouterr().out)["pixel_accuracy"] != found["pixel_accuracy"]


SHAPES = ("--env", "RSS/Shapes-ImageReward-v0")


def test_options_that_would_do_nothing_are_refused(checkpoint, tmp_path, capsys):
    folders = ["--images", str(tmp_path), "--out", str(tmp_path / "out")]
    cases = [
        (predict.main, [*folders, "--overlap", "0.2"], "give --tiles as well"),
        (predict.main, [*folders, "--tiles", "--overlap", "2"], "overlap must be in 0..0.9"),
        (evaluate.main, [*SHAPES, "--tiles"], "give --full-resolution too"),
    ]
    for main, arguments, message in cases:
        with pytest.raises(SystemExit) as stop:
            main(["--checkpoint", str(checkpoint), *arguments])
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
