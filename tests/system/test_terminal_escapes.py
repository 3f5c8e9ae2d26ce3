r"""Names that would steer a terminal: every command shows them with escapes, such as `\x1b`."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_sample
from PIL import Image

from rss_agents import data, evaluate, export, judge, predict, train
from rss_agents.command_line import DataConfig, only_printable_output, table
from rss_agents.live import watch
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, save_checkpoint
from rss_agents.training.config import TrainConfig
from rss_env.datasets.base import voc_palette

pytestmark = pytest.mark.usefixtures("one_thread")
EVIL = "a\x1b]0;title\x07\x1b[2J\x9b31m\u202eb"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\udc80-\udc9f]")
_UP = "\x1b[A"  # of bars that show progress


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder with a run, pictures, labels and classes of such names; most of them damaged."""
    folder = tmp_path / EVIL
    (folder / "run").mkdir(parents=True)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for name in (EVIL, "c\nrss: error: d"):
        write_sample(
            folder / "images" / f"{name}.png",
            folder / "labels" / f"{name}.png",
            np.full((16, 16), 1, np.uint8),
        )
    network = build_network("tiny-unet", 2, (16, 16))
    names = ("ground", EVIL)
    description = NetworkDescription.of("tiny-unet", (16, 16), names, voc_palette(2))
    save_checkpoint(folder / "run", network, description)
    return folder


def _folder(place: Path) -> list[str]:
    return ["--images", str(place / "images"), "--labels", str(place / "labels")]


def _check(place: Path) -> None:
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(place / "labels" / f"{EVIL}.png")
    data.main(["check", "folder", *_folder(place), "--classes", "2"])


def _info(place: Path) -> None:
    sheet = ["--sheet", str(place / "sheet.png")]
    data.main(["info", "folder", *_folder(place), "--classes", "2", *sheet])


def _split(place: Path) -> None:
    data.main(["split", "--images", str(place / "images"), "--out", str(place)])


def _predict(place: Path) -> None:
    (place / "images" / f"{EVIL}.png").write_bytes(b"none")
    images, out = str(place / "images"), str(place / "out")
    predict.main(["--checkpoint", str(place / "run"), "--images", images, "--out", out])


def _evaluate(place: Path) -> None:
    env = ["--env", "RSS/Folder-ImageReward-v0", "--classes", "2"]
    names = ["--checkpoint", str(place / "run"), "--split", "all"]
    evaluate.main([*names, *env, *_folder(place)])


def _export(place: Path) -> None:
    export.main(["--checkpoint", str(place / "nowhere"), "--encoder", str(place / "e")])


def _train(place: Path) -> None:
    (place / "config.json").write_text("{}")
    train.main(["--out", str(place)])


def _resume(place: Path) -> None:
    train.main(["--resume", str(place)])


def _judge(place: Path) -> None:
    judge.main(["use", str(place), str(place)])


def _watch(place: Path) -> None:
    pytest.importorskip("nicegui")
    shutil.rmtree(place)
    watch.main([str(place), "--no-browser"])


COMMANDS = (_check, _info, _split, _predict, _evaluate, _export, _train, _resume, _judge, _watch)


@pytest.mark.parametrize("command", COMMANDS)
def test_names_from_the_disk_do_not_steer_the_terminal(
    command: Callable[[Path], None], place, capsys
):
    with suppress(SystemExit):  # some find what is damaged
        command(place)
    shown = capsys.readouterr()
    text = shown.out + shown.err.replace(_UP, "").replace("\r", "")
    assert "\\x1b]0;title\\x07" in text  # it is named
    assert not STEERS.search(text)
    assert "\nrss: error: d" not in text


def test_a_command_may_move_its_own_bars(capsys):
    with only_printable_output():
        print("one\ttwo\n\x1b[A\r", end="")
        sys.stderr.write("\rbar\x1b[A\x1b[2Jx\n")
    shown = capsys.readouterr()
    assert shown.out == "one\ttwo\n\\x1b[A\\r"
    assert shown.err == "\rbar\x1b[A\\x1b[2Jx\n"
    torn = table(["name"], [["a\nb"], ["\x1b"]])
    assert torn.splitlines() == ["name", "a\\nb", "\\x1b"]


def test_options_of_a_foreign_run_do_not_steer_it_either(tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(torch.zeros(9).numpy().tobytes())
    (tmp_path / "config.json").write_text('{"algo": "\\u001b[2J", "updates": 1, "out": "."}')
    with pytest.raises(SystemExit):
        train.main(["--config", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not STEERS.search(capsys.readouterr().err)
    options = dataclasses.asdict(TrainConfig(tmp_path, DataConfig(root="\x1b[2Jroot\x1b[31m")))
    (tmp_path / "config.json").write_text(json.dumps(options, default=str))
    with pytest.raises(SystemExit):
        train.main(["--config", str(tmp_path), "--help"])
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)  # colours are tyro's own
    assert "root" in shown
    assert not STEERS.search(shown)
