"""Options of a file as a template: what is given beside it counts more, code is not believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rss_agents import train
from rss_agents.live.rate import RateConfig
from rss_agents.live.rate import _default as rate_default
from rss_agents.training.config import TrainConfig
from rss_env.errors import InputError
from training_runs import TINY, run

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "first"
    run(folder, "--weight-decay", "0.5", "--metric-model.regions", "3", "--seed", "4")
    return folder


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", ["", "config.json"])
def test_a_run_takes_the_options_of_another(first, name, tmp_path):
    train.main(["--config", str(first / name), "--out", str(tmp_path / "run"), "--seed", "5"])
    assert config_of(tmp_path / "run") == {
        **config_of(first), "seed": 5, "out": str(tmp_path / "run")
    }  # fmt: skip
    assert config_of(first)["weight_decay"] == 0.5
    assert (first / "result.json").exists()


def test_a_file_of_some_options_is_enough(tmp_path):
    (tmp_path / "mine.json").write_text('{"seed": 9, "agent": {"replay": 0}}')
    end = ["--updates", "1", "--out", str(tmp_path / "run")]
    train.main(["--config", str(tmp_path / "mine.json"), *TINY, *end])
    found = config_of(tmp_path / "run")
    assert (found["seed"], found["agent"]["replay"], found["num_images"]) == (9, 0, 2)


def test_a_template_may_be_named_from_home(first, monkeypatch):
    monkeypatch.setenv("HOME", str(first.parent))
    assert rate_default([f"--config=~/{first.name}"]) == rate_default(["--config", str(first)])


def test_rss_rate_takes_a_template_too(first):
    given = rate_default(["--config", str(first)])
    assert isinstance(given, RateConfig)
    assert given.train.weight_decay == 0.5


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        (None, [], "config.json cannot be read: No such file or directory"),
        ("{}", ["--resume", "runs/x"], "give --resume or --config"),
        ('{"seeds": 1}', [], "holds options that rss-train does not have: ['seeds']"),
        ('{"seed": "many"}', [], "does not hold options of rss-train"),
        ("seed: 1", [], "does not hold options of rss-train"),
        ('{"scorer": "os:system"}', [], "names the scorer 'os:system', which is code"),
        ('{"network": "a:b"}', [], "names the network 'a:b', which is code"),
    ],
)
def test_what_is_no_template_is_refused(content, arguments, words, tmp_path, capsys):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(path), "--out", str(tmp_path / "run"), *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_output_folder_has_to_be_named(first, capsys):
    before = (first / "result.json").read_bytes()
    with pytest.raises(SystemExit):
        train.main(["--config", str(first)])
    assert "--out" in capsys.readouterr().err
    assert (first / "result.json").read_bytes() == before


def test_python_is_told_how(first, tmp_path):
    with pytest.raises(InputError, match=r"read_config\(folder\)"):
        train.train(replace(TrainConfig(tmp_path / "run"), config=first))
