"""Folders that hold links: nothing is written to what they lead to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rating_questions import question
from rss_agents import data, judge, predict, train
from rss_agents.quality.learned_judge import JudgeDescription, LearnedJudge
from rss_agents.quality.network import QualityNetwork
from rss_agents.ratings.store import RatingBook
from rss_agents.training.logging import MetricsLog, draw_curve
from rss_env.errors import InputError
from rss_env.recorder import Film
from trained_networks import SIZE, trained
from training_runs import TINY, start_and_stop

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="links are those of POSIX"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run to go on with."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        start_and_stop(patch, out)
    return out


@pytest.fixture
def outside(tmp_path) -> Path:
    """A folder of somebody, with a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("mine")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


LINKS = (
    *("metrics.jsonl", "film.gif", "film.png", "curve.png", "overlay.png", "config.json"),
    *("model.safetensors", "best.safetensors", "progress.json", "tensorboard", "states"),
    *("tensorboard/events.out.tfevents.1.host.1.0", "ratings", "states/update-00000002-rank0.x"),
)


@pytest.mark.parametrize("name", LINKS)
def test_a_run_with_links_is_not_gone_on_with(name, stopped, tmp_path, capsys):
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(stopped, run)
    outside.mkdir()
    path = run / name
    path.parent.mkdir(exist_ok=True)
    if path.is_dir() or name == "ratings":
        place = outside / "folder"
        shutil.copytree(path, place) if path.exists() else place.mkdir()
        shutil.rmtree(path, ignore_errors=True)
    else:
        place = outside / "file"
        place.write_bytes(path.read_bytes() if path.exists() else b"mine")
        path.unlink(missing_ok=True)
    path.symlink_to(place)
    before, of_run = content(outside), content(run)
    for arguments in (["--resume", str(run)], [*TINY, "--out", str(run), "--overwrite"]):
        with pytest.raises(SystemExit) as ended:
            train.main(arguments)
        assert ended.value.code == 2
        assert "rss-train: error:" in capsys.readouterr().err
        assert content(outside) == before
        assert content(run) == of_run
    assert path.is_symlink()


def test_metrics_go_on_in_a_file_of_their_own(tmp_path):
    """What has another name as well, as in a copy by hard links, keeps its lines there."""
    run = tmp_path / "run"
    run.mkdir()
    log = MetricsLog(run)
    log.add(1, 8, {"score": 0.5})
    saved = log.file.get_state()
    log.add(2, 16, {"score": 0.5})
    log.close()
    backup = tmp_path / "backup.jsonl"
    os.link(run / "metrics.jsonl", backup)
    before = backup.read_bytes()
    again = MetricsLog(run, saved)
    again.add(2, 16, {"score": 0.75})
    again.close()
    assert backup.read_bytes() == before
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["0.5}", "0.75}"]


@pytest.mark.parametrize("name", ["film.gif", "film.png", "film.mp4", "curve.png"])
def test_pictures_take_the_place_of_links(name, outside, tmp_path):
    path, before = tmp_path / name, content(outside)
    path.symlink_to(outside / "precious")
    film = Film()
    for value in (0, 200):
        film.add([np.full((8, 10, 3), value, np.uint8)])
    if name == "curve.png":
        draw_curve([{"update": 1, "score_queries": 2, "score": 0.5}], path, "title")
    else:
        if name.endswith("mp4"):
            pytest.importorskip("imageio_ffmpeg")
        film.save(path)
    assert content(outside) == before
    assert path.stat().st_size > 100
    assert not path.is_symlink()
    assert not list(tmp_path.glob(".*"))


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(folder / "a.png")


def test_predictions_do_not_leave_by_a_linked_folder(outside, tmp_path, capsys):
    network = tmp_path / "network"
    trained("tiny-unet", torch.zeros(2, *SIZE, 3, dtype=torch.uint8), network)
    write_pictures(tmp_path / "images/deep/deeper")
    out = tmp_path / "out"
    command = ["--checkpoint", str(network), "--images", str(tmp_path / "images")]
    predict.main([*command, "--out", str(out)])
    shutil.move(out / "deep/deeper", outside / "deeper")  # pictures of rss-predict's own
    (out / "deep/deeper").symlink_to(outside / "deeper")
    before = content(outside)
    for overwrite in ([], ["--overwrite"]):
        with pytest.raises(SystemExit):
            predict.main([*command, "--out", str(out), *overwrite])
        assert "out/deep/deeper is a link, through which nothing is" in capsys.readouterr().err
        assert content(outside) == before
    linked = tmp_path / "linked"  # as somebody has named it
    linked.symlink_to(outside)
    predict.main([*command, "--out", str(linked)])
    assert (outside / "deep/deeper/a.png").is_file()


def _convert(out: Path) -> None:
    masks = out.parent / "masks"
    write_pictures(masks)
    (out.parent / "classes.txt").write_text("ground 0 0 0\ntree 1 1 1\n")
    (out.parent / "labels_classes.txt").symlink_to(out / "class file")
    arguments = ("--classes", str(out.parent / "classes.txt"), "--out", str(out.parent / "labels"))
    data.main(["convert", "colours", str(masks), *arguments])


def _split(out: Path) -> None:
    write_pictures(out.parent / "images")
    shutil.copy(out.parent / "images/a.png", out.parent / "images/b.png")
    lists = out.parent / "lists"
    lists.mkdir()
    (lists / "val.txt").symlink_to(out / "list")
    data.main(["split", "--images", str(out.parent / "images"), "--out", str(lists)])


def _fit(out: Path) -> None:
    LearnedJudge([QualityNetwork(3)], JudgeDescription(3, (8, 8), 1)).save(out)
    folder = out.parent / "judge"
    folder.mkdir()
    (folder / "judge.safetensors").symlink_to(out / "judge.safetensors")
    judge.main(["fit", "nowhere", "--out", str(folder), "--classes", "3", "--overwrite"])


@pytest.mark.parametrize("command", [_convert, _split, _fit])
def test_other_commands_refuse_links(command: Callable[[Path], None], outside, capsys):
    with pytest.raises(SystemExit) as ended:
        command(outside)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "is a link" in said or "is there already" in said
    assert set(content(outside)) <= {"precious", "judge.safetensors"}
    links = [path for path in outside.parent.rglob("*") if path.is_symlink()]
    assert len(links) == 1


@pytest.mark.parametrize("name", ["ratings.jsonl", ".ratings.lock", "questions", "open.json"])
def test_ratings_are_not_written_through_links(name, outside, tmp_path):
    book, asked = RatingBook(tmp_path / "ratings"), question()
    book.ask(asked)
    book.add(asked, {(0, 0): 3})
    path = tmp_path / "ratings" / name
    if name == "questions":
        shutil.rmtree(path)
        path.symlink_to(outside)
    else:
        path.unlink(missing_ok=True)
        path.symlink_to(outside / "precious")
    before = content(outside)
    use = (lambda: book.ask(question(1))) if name in ("questions", "open.json") else None
    with pytest.raises(InputError, match="is a link"):
        (use or (lambda: book.add(asked, {(0, 1): 3})))()
    assert content(outside) == before
    assert path.is_symlink()
