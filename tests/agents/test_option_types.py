"""Options that come from Python: wrong types are one error, and paths may be strings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rss_agents.command_line import DataConfig, run_command
from rss_agents.evaluate import EvalConfig, evaluate_checkpoints
from rss_agents.export import ExportConfig, export
from rss_agents.judge import FitConfig, fit
from rss_agents.predict import PredictConfig, predict_folder
from rss_agents.training.config import TrainConfig
from rss_agents.training.setup import open_run
from rss_env.errors import InputError


class Elsewhere:
    """A path of another library."""

    def __fspath__(self) -> str:
        return "runs/elsewhere"


def score(images: Any, action_maps: Any) -> Any:
    return 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer": score}, "scorer must be a valid string, got <function score"),
        ({"updates": "4"}, "updates must be a valid integer, got '4'"),
        ({"updates": 2.5}, "updates must be a valid integer, got 2.5"),
        ({"seed": True}, "seed must be a valid integer, got True"),
        ({"device": None}, "device must be a valid string, got None"),
        ({"algo": "pls"}, "algo must be 'rss', 'psl', .*, got 'pls'"),
        ({"agent": 5}, "agent must be a RSSConfig, got 5"),
        ({"data": "RSS/Shapes-ImageReward-v0"}, "data must be a DataConfig, got 'RSS"),
        ({"data": DataConfig(root=5)}, "data.root must be a valid string, got 5"),  # pyright: ignore[reportArgumentType]
        ({"out": 5}, "out must be an instance of Path, got 5"),
    ],
)
def test_an_option_of_another_type_is_one_error(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{message}"):
        open_run(TrainConfig(**{"out": "runs/new", **options}))
    assert not list(tmp_path.iterdir())


def test_what_means_the_same_is_taken():
    for out in ("runs/x", Path("runs/x"), Elsewhere()):
        config: Any = TrainConfig(
            out=out,  # pyright: ignore[reportArgumentType]
            data=DataConfig(root=Path("data"), classes=3),  # pyright: ignore[reportArgumentType]
            start_from=Path("runs/start"),  # pyright: ignore[reportArgumentType]
            updates=np.int64(3),  # pyright: ignore[reportArgumentType]
            image_size=[32, 64],  # pyright: ignore[reportArgumentType]
            learning_rate=1,
        )
        config.check()
        assert isinstance(config.out, Path)
        assert config.start_from == "runs/start"
        assert config.data.root == "data"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate_checkpoints(EvalConfig(5)), "checkpoint"),  # pyright: ignore
        (lambda: evaluate_checkpoints(EvalConfig("no/run")), "no checkpoint at no/run"),  # pyright: ignore
        (lambda: predict_folder(PredictConfig("r", "i", "o", device=0)), "device must be"),  # pyright: ignore
        (lambda: export(ExportConfig("no/run", encoder="e")), "no checkpoint at no/run"),  # pyright: ignore
        (lambda: fit(FitConfig(("a.csv",), "judge", classes="2")), "classes must be"),  # pyright: ignore
    ],
)
def test_every_command_can_be_called_with_strings(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{message}"):
        call()
    assert not list(tmp_path.iterdir())


def test_paths_begin_at_home_where_no_shell_has_read_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = TrainConfig(Path("~/runs/a"))
    config.check()
    assert config.out == tmp_path / "runs" / "a"
    seen = list[Any]()
    arguments = ["--checkpoint=~/run", "--images=~/x", "--out=~/y"]
    run_command("rss-predict", PredictConfig, seen.append, arguments)
    assert (seen[0].images, seen[0].out) == (tmp_path / "x", tmp_path / "y")
    run_command("rss-eval", EvalConfig, seen.append, ["--checkpoint=~/run"])
    assert tuple(seen[1].checkpoint) == (tmp_path / "run",)
