"""What users meet outside of their input: full disks, odd names, servers that are gone.

Each ends with one line, and nothing half-made is left.
"""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_sample
from PIL import Image

from rss_agents import train
from rss_agents.command_line import errors_in_a_line
from rss_agents.export import main as export
from rss_agents.networks.build import build_network
from rss_agents.networks.checkpoint import NetworkDescription, save_checkpoint
from rss_agents.predict import main as predict
from rss_agents.training.run_files import CONFIG_NAME
from training_runs import TINY, assert_alike, start, start_and_stop

pytestmark = pytest.mark.usefixtures("one_thread")


@contextmanager
def full_disk(most: int = 10) -> Iterator[None]:
    """No file can have more bytes in here."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def line_of(capsys: pytest.CaptureFixture[str], code: int, main: Any, *arguments: str) -> str:
    """The one line with which a command ends, and its exit code."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if ": error: " in line]
    assert (stop.value.code, len(lines)) == (code, 1), told
    assert "Traceback" not in told
    return lines[0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    network = build_network("tiny-unet", 3, (16, 16))
    palette = np.arange(9, dtype=np.uint8).reshape(3, 3)
    save_checkpoint(
        folder, network, NetworkDescription.of("tiny-unet", (16, 16), ("a", "b", "c"), palette)
    )
    return folder


def photo(folder: Path, name: str = "photo") -> Path:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (20, 20), (90, 10, 200)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        start_and_stop(patch, out)
    return out


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("most", "code", "named"),
    [(10, 2, "cannot write {}/.writer.json"), (500, 1, "{} cannot be written: ")],
)
def test_a_disk_that_is_full_when_a_run_begins(most, code, named, there, tmp_path, capsys):
    """It is met by what names the writer, or by the first file of the run."""
    out = tmp_path / "new/run"
    if there:
        out.mkdir(parents=True)
    with full_disk(most):
        told = line_of(capsys, code, train.main, *TINY, "--out", str(out))
    assert named.format(out) in told
    assert "File too large" in told
    if code == 1:
        assert f"{out / CONFIG_NAME}'; no training state has been saved yet" in told
    assert [path.name for path in tmp_path.rglob("*")] == (
        ["new", "run", ".writer.lock"] if there else []
    )


def test_a_disk_that_is_full_when_a_run_goes_on(stopped, capsys):
    before = files_in(stopped)
    with full_disk(500):
        told = line_of(capsys, 1, train.main, "--resume", str(stopped))
    assert f"{stopped} cannot be written: " in told
    assert f"go on from update 4 with --resume {stopped}" in told
    assert files_in(stopped) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize("place", ["/proc/run", "/proc/self/run", "/dev/null/run"])
def test_a_place_where_nothing_can_be_made(place, capsys):
    """(Even by root, to whom a folder of /proc seems to be one that can be written to.)"""
    told = line_of(capsys, 2, train.main, *TINY, "--out", place)
    assert place.removesuffix("/run") in told


@pytest.mark.parametrize(
    ("changed", "code", "said"),
    [
        ({"algo": "psl"}, 2, "algo was rss, is psl"),
        ({"algo": "sb3-ppo"}, 2, "algo was rss, is sb3-ppo"),
        ({"num_images": 10**12}, 1, "no memory is left"),
        ({"group_size": 2**70}, 1, "no memory is left"),
        ({"image_size": [2**40, 2**40], "scales": None}, 1, "no memory is left"),
        ({"learning_rate": 1e300}, 2, "learning_rate must be in 0..1e6"),
        ({"network": "nonsense"}, 2, "unknown network 'nonsense'"),
    ],
)
def test_options_of_a_run_that_were_changed(changed, code, said, stopped, capsys):
    path = stopped / CONFIG_NAME
    options = path.read_text()
    path.write_text(json.dumps(json.loads(options) | changed))
    before = files_in(stopped)
    try:
        assert said in line_of(capsys, code, train.main, "--resume", str(stopped))
        assert files_in(stopped) == before
    finally:
        path.write_text(options)


def test_a_home_that_is_not_there(capsys):
    told = line_of(capsys, 2, train.main, *TINY, "--out", "~nobody-of-this-name/run")
    assert "~nobody-of-this-name/run" in told


def test_a_full_disk_in_prediction_and_export(checkpoint, tmp_path, capsys):
    images, out = photo(tmp_path / "images"), tmp_path / "out"
    given = ["--checkpoint", str(checkpoint)]
    with full_disk():
        told = line_of(capsys, 2, predict, *given, "--images", str(images), "--out", str(out))
        assert told.endswith(f"cannot write {out / 'photo.png'}: File too large")
        told = line_of(capsys, 2, export, *given, "--program", str(out / "a.pt2"))
        assert told.endswith(f"cannot write {out / 'a.pt2'}: File too large")
    assert not list(out.iterdir())
    export([*given, "--program", str(out / "a.pt2")])
    assert torch.export.load(out / "a.pt2")


def test_names_of_any_length_are_written_or_refused_before(checkpoint, tmp_path, capsys):
    longest, given = "n" * 244, ["--checkpoint", str(checkpoint)]
    export([*given, "--program", str(tmp_path / f"{longest}.pt2")])
    written = {f"{longest}.pt2", f"{longest}.pt2.sha256"}  # of 255 bytes
    assert {path.name for path in tmp_path.iterdir()} == written
    images, out = photo(photo(tmp_path / "images"), longest), str(tmp_path / "out")
    told = line_of(capsys, 2, predict, *given, "--images", str(images), "--out", out)
    assert "is too long for a name: 256 bytes, at most 255" in told
    told = line_of(capsys, 2, export, *given, "--program", str(tmp_path / ("n" * 249)))
    assert "is too long for a name: 256 bytes" in told
    told = line_of(capsys, 2, train.main, *TINY, "--out", str(tmp_path / ("n" * 256)))
    assert "is too long for a name: 256 bytes" in told
    assert not Path(out).exists()


def test_names_that_are_no_utf_8(checkpoint, tmp_path, capsys):
    """Pictures may have them; a run may not: its options could not be read again."""
    odd = os.fsdecode(b"odd\xff")
    images, out = photo(tmp_path / "images", odd), tmp_path / odd
    predict(["--checkpoint", str(checkpoint), "--images", str(images), "--out", str(out)])
    assert (out / f"{odd}.png").exists()
    told = line_of(capsys, 2, train.main, *TINY, "--out", str(tmp_path / f"run {odd}"))
    assert "out must be UTF-8" in told
    told = line_of(capsys, 2, train.main, *TINY, "--out", str(tmp_path / "a"), "--root", str(out))
    assert "data.root must be UTF-8" in told
    assert not list(tmp_path.glob("*run*"))


def test_validation_labels_that_are_all_void(tmp_path, capsys):
    values = {"labelled": np.ones((16, 16)), "void": np.full((16, 16), 255)}
    for name, label in values.items():
        write_sample(tmp_path / f"images/{name}.png", tmp_path / f"labels/{name}.png", label)
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    data = [f"--{role}={tmp_path / role}" for role in ("images", "labels")]
    lists = [f"--split={tmp_path / 'labelled.txt'}", f"--val-split={tmp_path / 'void.txt'}"]
    folder = ["--env", "RSS/Folder-ImageReward-v0", "--classes", "2", *data, *lists]
    told = line_of(capsys, 2, train.main, *TINY, *folder, "--out", str(tmp_path / "run"))
    assert "every pixel of the validation labels is void" in told
    assert not (tmp_path / "run").exists()


def test_a_pretrained_run_goes_on_without_a_hub(tmp_path, monkeypatch):
    asked: list[bool] = []

    def build(*arguments: Any, pretrained: bool, **options: Any) -> Any:
        asked.append(pretrained)
        return build_network(*arguments, **options)

    monkeypatch.setattr("rss_agents.training.setup.build_network", build)
    start(tmp_path / "whole", "--pretrained")
    start_and_stop(monkeypatch, tmp_path / "stopped", "--pretrained")
    train.main(["--resume", str(tmp_path / "stopped")])
    assert asked == [True, True, False]
    assert_alike(tmp_path / "whole", tmp_path / "stopped")


def refused(images: Any, action_maps: Any) -> Any:
    raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


def test_a_scorer_whose_server_is_gone_is_named(tmp_path, capsys):
    told = line_of(
        capsys, 1, train.main, *TINY,
        "--scorer", "test_out_of_reach:refused", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert "scorer test_out_of_reach:refused raised ConnectionRefusedError" in told
    assert "cannot be written" not in told
    (tmp_path / "scorer_that_connects.py").write_text("raise ConnectionError('no server\\nhere')")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        named = ["--scorer", "scorer_that_connects:score", "--out", str(tmp_path / "none")]
        told = line_of(capsys, 2, train.main, *TINY, *named)
    assert "cannot be imported: ConnectionError: no server here" in told


FAULTS = {
    "/data/a.png: No space left": OSError(errno.ENOSPC, "No space left", "/data/a.png"),
    "no memory is left (Unable to allocate 9 TiB)": MemoryError("Unable to allocate 9 TiB"),
    "no memory is left (CUDA out of memory)": RuntimeError("CUDA out of memory\nmore"),
    "no memory is left (int too large": OverflowError("int too large to convert to C long"),
    "[Errno 111] Connection refused": ConnectionRefusedError(111, "Connection refused"),
    "a name or a text cannot be written": UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no"),
}  # fmt: skip


@pytest.mark.parametrize("line", FAULTS)
def test_one_place_tells_what_commands_do_not(line, capsys):
    def fail(_: Any) -> None:
        with errors_in_a_line("rss-any"):
            raise FAULTS[line]

    assert line_of(capsys, 1, fail).startswith(f"rss-any: error: {line}")


def test_what_a_program_may_cause_keeps_its_traceback():
    for error in (RuntimeError("a mistake"), ValueError("of ours")):
        with pytest.raises(type(error)), errors_in_a_line("rss-any"):
            raise error
