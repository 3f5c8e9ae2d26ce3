"""What all commands share: notes and errors in a line each."""

from __future__ import annotations

import shutil

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
