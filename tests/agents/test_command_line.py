"""What all commands share: notes and errors in a line each, on consoles of any code page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import write_sample

from rss_agents.command_line import DataConfig, run_command
from rss_agents.data import main as data_main


def test_what_was_left_out_is_told_once(capsys, folder_data, tmp_path):
    for role in ("images", "labels"):
        shutil.copytree(folder_data[role], tmp_path / role)
    (tmp_path / "images/photo 9.heic").write_bytes(b"something")
    shutil.copy(tmp_path / "labels/photo 0.png", tmp_path / "labels/unused.png")
    files = ["--images", str(tmp_path / "images"), "--labels", str(tmp_path / "labels")]
    files += ["--classes", folder_data["classes"]]
    data_main(["check", "folder", *files])
    checked = capsys.readouterr()
    assert "note: all: images folder" in checked.out
    assert "left out 1 .heic (photo 9.heic)" in checked.out
    assert "1 label(s) have no image: unused" in checked.out
    listed = tmp_path / "some.txt"
    listed.write_text("photo 0\nphoto 1\n")
    run_command(
        "rss-train",
        DataConfig,
        lambda config: [config.open(split) for split in (None, str(listed))],
        ["--env", "RSS/Folder-ImageReward-v0", *files],
    )
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["rss-train"] * 2
    assert "note: images folder" in told[0]
    assert "left out 1 .heic (photo 9.heic)" in told[0]
    assert "1 label(s) have no image: unused" in told[1]


def test_names_that_a_console_cannot_write_are_escaped(tmp_path):
    """Of classes, and of files that are defective."""
    for name in ("čeština", "猫"):
        write_sample(
            tmp_path / f"images/{name}.png", tmp_path / f"labels/{name}.png", np.ones((8, 8))
        )
    (tmp_path / "labels/猫.png").write_bytes(b"no picture")
    (tmp_path / "classes.txt").write_text("země\n猫\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    files = ["--images=images", "--labels=labels", "--classes=classes.txt"]

    def outcome(*arguments: str) -> tuple[int, str]:
        code = "import sys; from rss_agents.data import main; main(sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path, env=environment, capture_output=True,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr
        return done.returncode, (done.stdout + done.stderr).decode("cp1252")

    code, text = outcome("check", "folder", *files)
    assert code == 1
    assert "\\u732b.png" in text
    (tmp_path / "labels/猫.png").unlink()
    (tmp_path / "images/猫.png").unlink()
    code, text = outcome("info", "folder", *files)
    assert code == 0, text
    assert "\\u732b" in text
    assert "zem\\u011b" in text


def test_a_terminal_is_told_that_something_happens(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    seen = []
    run_command("rss-train", DataConfig, lambda _: seen.append(capsys.readouterr().err.strip()), [])
    assert seen == ["rss-train: loading ..."]


def test_another_broken_pipe_is_no_quiet_end():
    def fail(_: DataConfig) -> None:
        raise BrokenPipeError("of a program that was started")

    with pytest.raises(BrokenPipeError, match="of a program"):
        run_command("rss-train", DataConfig, fail, [])
