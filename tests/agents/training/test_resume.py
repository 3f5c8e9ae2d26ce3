"""A run that is stopped and goes on ends where an undisturbed one ends, to the last bit."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_sample
from PIL import Image

from rss_agents import train
from rss_agents.command_line import DataConfig
from rss_agents.networks.build import build_network
from rss_agents.training.config import TrainConfig
from rss_agents.training.loop import TrainingLoop
from rss_agents.training.resume import read_config, refuse_changes
from rss_agents.training.setup import open_run
from rss_agents.training.states import RunStates, read_state, write_state
from rss_env import scenes
from rss_env.cache_files import note_array
from rss_env.digests import array_digest
from rss_env.errors import InputError
from training_runs import assert_alike, interrupted_at, start, start_and_stop

pytestmark = pytest.mark.usefixtures("one_thread")

WAYS = {
    "rss": (),
    "no memory": ("--replay", "0"),
    "policy gradient": ("--objective", "policy_gradient"),
    "rewards of cells": ("--env", "RSS/Shapes-PixelReward-v0"),
    "stars": ("--feedback", "rating:5", "--zoom", "1", "1.5", "--colour-jitter", "0.2"),
    "a scorer": ("--scorer", "training_runs:prefer_houses"),
    "few queries": ("--queries", "32"),
    "psl-metric": ("--algo", "psl-metric"),
    "wsss-cam": ("--algo", "wsss-cam"),
    "reinforce": ("--algo", "reinforce"),
    "ppo": ("--algo", "ppo", "--clip-gradient", "0.1"),
    "sb3-ppo": ("--algo", "sb3-ppo"),
    "sb3-a2c": ("--algo", "sb3-a2c"),
}


def test_labels_and_scores_go_on_bit_for_bit(tmp_path, monkeypatch, voc_root):
    (tmp_path / "two.txt").write_text("2007_000000\n2007_000002\n")
    data = ("--env", "RSS/VOC-ImageReward-v0", "--root", str(voc_root))
    labelled = (*data, "--labelled", str(tmp_path / "two.txt"))
    start(tmp_path / "whole", *labelled)
    start_and_stop(monkeypatch, tmp_path / "stopped", *labelled)
    train.main(["--resume", str(tmp_path / "stopped")])
    assert_alike(tmp_path / "whole", tmp_path / "stopped")
    rows = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").open()]
    assert all(0 <= row["labelled_score"] <= 1 for row in rows if row["update"])


@pytest.mark.parametrize("way", WAYS)
def test_a_run_goes_on_bit_for_bit(way, tmp_path, monkeypatch):
    start(tmp_path / "whole", *WAYS[way])
    start_and_stop(monkeypatch, tmp_path / "stopped", *WAYS[way])
    with (tmp_path / "stopped/metrics.jsonl").open("a") as file:
        file.write('{"update": 5}\n{"upda')  # what a process that dies later may leave
    code = WAYS[way] if "--scorer" in WAYS[way] else ()  # which a folder alone may not name
    train.main(["--resume", str(tmp_path / "stopped"), *code])
    assert_alike(tmp_path / "whole", tmp_path / "stopped")
    assert not (tmp_path / "stopped/states").exists()


def test_what_a_network_draws_goes_on_as_well(tmp_path, monkeypatch):
    def build_with_dropout(*arguments: Any, **options: Any) -> Any:
        network = build_network(*arguments, **options)
        network.body = torch.nn.Sequential(network.body, torch.nn.Dropout(0.3))
        return network

    monkeypatch.setattr("rss_agents.training.setup.build_network", build_with_dropout)
    start(tmp_path / "whole")
    start_and_stop(monkeypatch, tmp_path / "stopped")
    torch.manual_seed(5)
    train.main(["--resume", str(tmp_path / "stopped")])
    assert_alike(tmp_path / "whole", tmp_path / "stopped")


def test_an_interrupt_goes_on_from_the_update_it_came_in(tmp_path, monkeypatch, capsys):
    start(tmp_path / "whole")
    with interrupted_at(monkeypatch, 3):
        start(tmp_path / "stopped")
    assert f"go on with --resume {tmp_path / 'stopped'}" in capsys.readouterr().err
    assert RunStates(tmp_path / "stopped").updates() == [2, 3]
    train.main(["--resume", str(tmp_path / "stopped")])
    assert_alike(tmp_path / "whole", tmp_path / "stopped")


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    """A run that was stopped after four updates, with the states of updates 2 and 4."""
    start_and_stop(monkeypatch, tmp_path / "run")
    return tmp_path / "run"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        train.main(list(arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_damaged_state_is_refused_and_the_one_before_offered(stopped, capsys):
    path = RunStates(stopped).path(4)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (flipped, content[:middle], b"", b"\x80\x04pickle"):
        path.write_bytes(damaged)
        error = refused(capsys, "--resume", str(stopped))
        assert str(path) in error
        before = RunStates(stopped).path(2)
        assert f"go on from the state before it with --resume {before}" in error
    train.main(["--resume", str(RunStates(stopped).path(2))])
    start(stopped.parent / "whole")
    assert_alike(stopped.parent / "whole", stopped)


def test_nothing_to_resume(tmp_path, capsys):
    assert "there is nothing to resume" in refused(capsys, "--resume", str(tmp_path / "none"))
    start(tmp_path / "run", updates=2)
    before = (tmp_path / "run/model.safetensors").read_bytes()
    for more in ((), ("--updates", "4")):
        error = refused(capsys, "--resume", str(tmp_path / "run"), *more)
        assert "the run is complete" in error
        assert f"begin a new run with --start-from {tmp_path / 'run'}, another --out" in error
    assert (tmp_path / "run/model.safetensors").read_bytes() == before
    start(tmp_path / "on", "--start-from", str(tmp_path / "run"))
    assert json.loads((tmp_path / "on/result.json").read_text())["updates"] == 6


def test_another_number_of_updates_is_trained_if_allowed(stopped, capsys):
    """The schedule is that of the options now, and so are its peak and the weight decay."""
    for fewer in ("2", "4"):
        error = refused(capsys, "--resume", str(stopped), "--updates", fewer, "--allow-changes")
        assert f"goes on from update 4: updates must be more than that, got {fewer}" in error
    more = ("--updates", "12", "--learning-rate", "0.03", "--weight-decay", "0.5")
    assert "updates was 6, is 12" in refused(capsys, "--resume", str(stopped), *more)
    train.main(["--resume", str(stopped), *more, "--allow-changes"])
    assert json.loads((stopped / "result.json").read_text())["updates"] == 12
    start(stopped.parent / "whole", *more)
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").open()]
        for run in (stopped, stopped.parent / "whole")
    ]
    rates, expected = ([row["learning_rate"] for row in of if row["update"]] for of in rows)
    assert rates[:4] != expected[:4]
    assert rates[4:] == expected[4:]


def test_the_options_decide_over_the_optimiser_of_a_state(stopped):
    config = dataclasses.replace(
        read_config(stopped), out=stopped, resume=stopped, weight_decay=0.5, allow_changes=True
    )
    loop = TrainingLoop(config, open_run)
    run: Any = loop._run
    assert run.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert run.optimizer.state


def test_other_options_and_versions_are_refused_unless_allowed(stopped, capsys, monkeypatch):
    error = refused(capsys, "--resume", str(stopped), "--learning-rate", "0.01", "--replay", "8")
    assert "learning_rate was 0.003, is 0.01" in error
    assert "agent.replay was 56, is 8" in error
    assert "--allow-changes" in error
    with monkeypatch.context() as patch:
        patch.setattr("rss_agents.training.logging.versions", lambda: {"torch": "1.0"})
        assert "version of torch was" in refused(capsys, "--resume", str(stopped))
    train.main(["--resume", str(stopped), "--weight-decay", "0.1", "--allow-changes"])
    assert json.loads((stopped / "config.json").read_text())["weight_decay"] == 0.1
    assert (stopped / "result.json").exists()


@pytest.fixture
def labelled(tmp_path, monkeypatch) -> list[str]:
    """Arguments of a data set of files with a cache of its own; labels of one size in bytes."""
    monkeypatch.setenv("RSS_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "labels").mkdir()
    for i in range(4):
        label = np.full((16, 16), i % 2, np.uint8)
        write_sample(tmp_path / "images" / f"{i}.png", None, label, i)
        Image.fromarray(label).save(tmp_path / "labels" / f"{i}.png", compress_level=0)
    (tmp_path / "list.txt").write_text("0\n1\n")
    (tmp_path / "rest.txt").write_text("2\n3\n")
    files = [f"--{name}={tmp_path / name}" for name in ("images", "labels")]
    lists = [f"--split={tmp_path / 'list.txt'}", f"--val-split={tmp_path / 'rest.txt'}"]
    return ["--env", "RSS/Folder-ImageReward-v0", *files, "--classes", "2", *lists]


def in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be shared that this process holds."""
    monkeypatch.setattr(scenes, "_loaded", weakref.WeakValueDictionary())


def rewrite(path: Path) -> None:
    """Other labels, with the size and the time of those before."""
    before, size = path.stat(), Image.open(path).size
    Image.fromarray(np.ones(size[::-1], np.uint8)).save(path, compress_level=0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_data_of_the_same_size_and_time_is_refused(tmp_path, monkeypatch, capsys, labelled):
    more = ("--labelled", str(tmp_path / "more.txt"))
    (tmp_path / "more.txt").write_text("1\n2\n")
    start_and_stop(monkeypatch, tmp_path / "run", *labelled, *more, update=2)
    rewrite(tmp_path / "labels" / "2.png")  # of validation, and learned from as a label
    error = refused(capsys, "--resume", str(tmp_path / "run"))
    assert "training data has changed; validation data has changed" in error
    start_and_stop(monkeypatch, tmp_path / "other", *labelled, update=2)
    rewrite(tmp_path / "labels" / "0.png")
    error = refused(capsys, "--resume", str(tmp_path / "other"))
    assert "training data has changed" in error
    assert "validation data" not in error


def test_damage_of_the_cache_changes_no_run(tmp_path, monkeypatch, capsys, labelled):
    start(tmp_path / "whole", *labelled)
    start_and_stop(monkeypatch, tmp_path / "run", *labelled)
    samples, *_, counts = sorted((tmp_path / "cache").glob("Folder-*.npy"))[::-1]
    for path in (samples, counts):
        content = path.read_bytes()
        path.unlink()  # what is mapped stays as it is
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    in_another_process(monkeypatch)
    capsys.readouterr()
    train.main(["--resume", str(tmp_path / "run")])
    notes = capsys.readouterr().err
    assert f"note: cache file {samples} is damaged and computed again" in notes
    assert f"note: cache file {counts} is damaged and computed again" in notes
    assert_alike(tmp_path / "whole", tmp_path / "run")


def test_label_counts_are_of_the_data(tmp_path, monkeypatch, capsys, labelled):
    """Other counts are other data even where they are noted as if they were sound."""
    start_and_stop(monkeypatch, tmp_path / "run", *labelled)
    (path,) = (tmp_path / "cache").glob("Folder-label-counts-*.npy")
    counts = np.load(path)
    counts[0, 0] -= 1
    path.unlink()
    np.save(path, counts)
    note_array(path, array_digest(counts), "")
    in_another_process(monkeypatch)
    assert "training data has changed" in refused(capsys, "--resume", str(tmp_path / "run"))


def test_other_data_is_refused(tmp_path, monkeypatch, capsys, folder_data):
    (tmp_path / "list.txt").write_text("photo 0\nphoto 1\nphoto 2\n")
    lists = ("--split", str(tmp_path / "list.txt"), "--val-split", str(tmp_path / "list.txt"))
    data = [f"--{name}={folder_data[name]}" for name in ("images", "labels", "classes")]
    folder = ("--env", "RSS/Folder-ImageReward-v0", *data, *lists)
    start_and_stop(monkeypatch, tmp_path / "run", *folder, update=2)
    image = sorted(Path(folder_data["images"]).rglob("photo 1*"))[0]
    label = sorted(Path(folder_data["labels"]).rglob("photo 1*"))[0]
    before = image.read_bytes()
    with Image.open(label) as old:
        size = old.size
    write_sample(image, None, torch.ones(size[1], size[0]).byte().numpy(), seed=9)
    assert image.read_bytes() != before
    error = refused(capsys, "--resume", str(tmp_path / "run"))
    assert "training data has changed; validation data has changed" in error


def test_what_the_values_in_labels_mean_is_an_option_of_a_run(tmp_path):
    data = DataConfig(label_values=("0", "1,255"), void_values=("none",))
    config = TrainConfig(tmp_path, data)
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(config), default=str))
    assert read_config(tmp_path).data == data
    changed = dataclasses.replace(config, data=dataclasses.replace(data, label_values=None))
    with pytest.raises(InputError, match=r"data.label_values was \('0', '1,255'\), is None"):
        refuse_changes(changed, {}, {})


def test_a_state_of_another_layout_is_refused(stopped, capsys):
    error = refused(
        capsys, "--resume", str(stopped), "--network", "tiny-unet-group", "--allow-changes"
    )
    assert "the training state is of another network" in error
    error = refused(capsys, "--resume", str(stopped), "--group-size", "4", "--allow-changes")
    assert "the training state has a memory of another layout" in error
    assert "not in" in refused(capsys, "--resume", str(stopped), "--out", "elsewhere")
    path = RunStates(stopped).path(4)
    write_state(path, {**read_state(path), "processes": 3})
    with pytest.raises(InputError, match="is a run of 3 processes, not of 1"):
        train.train(TrainConfig(stopped, resume=stopped, allow_changes=True))


def test_a_config_that_is_none_is_refused(stopped, capsys):
    path = stopped / "config.json"
    config = json.loads(path.read_text())
    for text, message in (
        ("[" * 100_000, "does not hold options"),
        ("{}", "does not hold options"),
        (json.dumps({**config, "updates": "many"}), "does not hold options"),
        (json.dumps({**config, "agent": {"colour": 1}}), "does not have: ['agent.colour']"),
        (" " * 2_000_000, "has more than"),
    ):
        path.write_text(text)
        assert message in refused(capsys, "--resume", str(stopped))
    path.unlink()
    assert "is no run to resume" in refused(capsys, "--resume", str(stopped))


def test_what_is_said_of_an_error_has_a_line_of_its_own(tmp_path, monkeypatch, capsys):
    start_and_stop(monkeypatch, tmp_path / "run")
    assert capsys.readouterr().err.endswith("\n")  # behind the progress bar


@pytest.mark.parametrize("years", [-30, 30])
def test_the_clock_may_jump(tmp_path, monkeypatch, years):
    """Back or forth, between a run's beginning and its end: durations are of another clock."""
    start(tmp_path / "whole")
    start_and_stop(monkeypatch, tmp_path / "run")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + years * 365.25 * 86400)
    for path in (tmp_path / "run").rglob("*"):
        os.utime(path, (now(), now() - years * 365.25 * 86400))
    train.main(["--resume", str(tmp_path / "run")])
    assert_alike(tmp_path / "whole", tmp_path / "run")
    assert 0 < json.loads((tmp_path / "run/result.json").read_text())["seconds"] < 600


def test_another_number_of_threads_is_named(tmp_path, monkeypatch, one_thread):
    """Torch shares out sums among its threads; states of before did not note their number."""
    start_and_stop(monkeypatch, tmp_path / "run")
    config = dataclasses.replace(
        read_config(tmp_path / "run"), out=tmp_path / "run", resume=tmp_path / "run"
    )
    torch.set_num_threads(2)
    try:
        with pytest.raises(InputError, match=r"threads of torch \(OMP_NUM_THREADS\) was 1, is 2"):
            train.train(config)
    finally:
        torch.set_num_threads(1)
    now = {"threads of torch (OMP_NUM_THREADS)": 1, "version of torch": "3"}
    refuse_changes(config, {"version of torch": "3"}, now)
    train.main(["--resume", str(tmp_path / "run")])
