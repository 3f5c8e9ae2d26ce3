"""The command: a row from somebody's code, measured from weights, beside published rows."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.leaderboard import __main__ as command
from benchmarks.leaderboard import page as page_module
from benchmarks.leaderboard.__main__ import LeaderboardConfig, compete
from benchmarks.leaderboard.rows import PUBLISHED
from benchmarks.leaderboard.runs import AlgorithmRun, learn_missing
from benchmarks.leaderboard.tracks import Track, TrackData
from rss_env.errors import InputError

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
ALGO = "test_leaderboard:Greedy"


class Greedy(nn.Module):
    """Asks until it is stopped; answers the class of its setting, or of its weights."""

    environment = {"num_envs": 4, "scales": (8,)}  # noqa: RUF012 (as the page writes it)
    answer: torch.Tensor

    def __init__(self, num_classes, image_size, seed, answer=0, fails=False):
        super().__init__()
        self.register_buffer("answer", torch.tensor(answer))
        self.fails = fails

    def learn(self, env, budget):
        if self.fails:
            raise RuntimeError("no luck")
        env.reset(seed=0)
        while True:
            _, _, _, _, infos = env.step(env.action_space.sample())
            assert ("scale_scores" in infos["final_info"]) == ("pixel_rewards" not in infos)

    def predict(self, images):
        return self.answer.expand(images.shape[:3])


@pytest.fixture
def board(tmp_path, monkeypatch, one_thread):
    """A configuration whose runs learn in this process; nothing is drawn."""

    def learn_here(runs, jobs):
        for run in runs:
            if not run.is_done:
                run.folder.mkdir(parents=True)
                run.learn()

    monkeypatch.setattr(command, "learn_missing", learn_here)
    for name in ("draw_board", "draw_profiles"):
        monkeypatch.setattr(page_module, name, lambda *_: None)

    def config(**changes):
        known = {
            "algo": (ALGO,),
            "queries": 10,
            "runs": tmp_path / "runs",
            "out": tmp_path / "report",
            "published": tmp_path / "published",
        }
        return LeaderboardConfig(**known | changes)

    return config


def row_of(config: LeaderboardConfig, track: str = "shapes-scales-10", name: str = "Greedy"):
    return json.loads((config.out / "rows" / track / f"{name}.json").read_text())


def test_the_command_of_the_page_gives_a_row(tmp_path):
    """Word by word, in processes of its own."""
    (code,) = re.findall(r"```python\n# my_agent.py\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_agent.py").write_text(code)
    (line,) = re.findall(r"```bash\n(python .*)\n```", PAGE)
    command_line = [sys.executable, *shlex.split(line)[1:]]
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'agents'}", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command_line, cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = tmp_path / "runs" / "leaderboard-report"
    row = json.loads((report / "rows" / "shapes-image-1000" / "OneClass.json").read_text())
    assert row["seeds"] == [100, 101, 102, 103, 104]
    assert row["score_queries"] == [996] * 5  # 83 steps of 12 maps
    assert (row["threads"], row["tuning"]) == (1, False)
    assert "| OneClass | 0.127 | 0.127 to 0.127 |" in (report / "table.md").read_text()
    for name in ("shapes-image-1000.png", "profiles-ImageReward-image-1000.png"):
        assert (report / name).stat().st_size > 0


def test_the_environment_counts_and_stops(board, capsys):
    config = board(told="scales")
    compete(config)
    row = row_of(config)
    assert row["score_queries"] == [8] * 5  # two steps of four maps; a third would be 12
    assert row["normalised"] == pytest.approx([0.0] * 5, abs=1e-5)
    assert "## shapes, ImageReward, told: scales, 10 score queries" in capsys.readouterr().out


def test_what_is_measured_are_the_weights(board):
    """Not what a file says: weights that are replaced have another row, whatever is written."""
    config = board()
    compete(config)
    first = row_of(config)
    for seed in first["seeds"]:
        folder = config.runs / "shapes-scales-10" / "Greedy" / f"seed{seed}"
        save_file({"answer": torch.tensor(3)}, folder / "weights.safetensors")
        (folder / "result.json").write_text(json.dumps({"miou": 0.99}))
        record = json.loads((folder / "run.json").read_text()) | {"miou": 0.99}
        (folder / "run.json").write_text(json.dumps(record))
    compete(config)
    assert max(row_of(config)["miou"]) < min(first["miou"])
    assert row_of(config)["weights"] != first["weights"]
    folder = config.runs / "shapes-scales-10" / "Greedy" / "seed102"
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"score_queries": 11}))
    with pytest.raises(InputError, match="seed102 asked for 11 scores, the track has 10"):
        compete(config)
    (folder / "run.json").write_text(json.dumps(record))
    save_file({"other": torch.zeros(3)}, folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"weights.safetensors holds no weights of .*Greedy"):
        compete(config)
    (folder / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"weights.safetensors holds no weights of .*Greedy"):
        compete(config)


def test_published_rows_are_shown_and_not_run(board, monkeypatch):
    config = board()
    compete(config)
    (config.out).rename(config.published)
    monkeypatch.setattr(command, "learn_missing", lambda runs, jobs: pytest.fail("was run"))
    compete(board(algo=()))
    page = (config.out / "table.md").read_text()
    assert page.count("| Greedy |") == 1
    assert (config.published / "table.md").read_text() == page


def test_settings_make_the_row(board):
    config = board(settings=("answer=2",), name="two")
    compete(config)
    assert row_of(config, name="two")["settings"] == {"answer": 2}
    assert "| two (answer=2) |" in (config.out / "table.md").read_text()


def test_a_tuning_says_so(board, tmp_path):
    config = board(tuning=True, seeds=(3,))
    compete(config)
    assert "A tuning, no result" in (config.out / "table.md").read_text()
    compete(board(algo=(), published=config.out, out=tmp_path / "other"))  # is not shown as one
    assert "Greedy" not in (tmp_path / "other" / "table.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, 1, 2, 3, 4)}, "seeds 0 1 2 3 4 are no evidence"),
        ({"seeds": (100, 101)}, "2 seeds are no result; valid: at least 5"),
        ({"algo": ("rss",), "seeds": (100, 101, 102, 103, 104)}, "valid: at least 8"),
        ({"algo": ("nobody",)}, "unknown algo 'nobody'; valid: rss, "),
        ({"algo": ("torch:Tensor",)}, "has no learn, predict, state_dict, load_state_dict"),
        ({"algo": ("no.such:Agent",)}, "algo 'no.such:Agent' is not 'module:function'"),
        ({"settings": ("answer",)}, "settings must be name=value, each once, got 'answer'"),
        ({"settings": ("wrong=1",)}, "cannot be made: .*unexpected keyword argument 'wrong'"),
        ({"suite": "mars"}, "unknown suite 'mars'; valid: shapes, "),
        ({"suite": "folder"}, "--suite folder needs --images"),
        ({"val_split": "val.txt"}, "val_split is of --suite folder, got --suite shapes"),
        ({"level": "Backwards"}, "unknown level 'Backwards'; valid: PixelReward, ImageReward"),
        ({"queries": 0}, "queries must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"name": "../row"}, "name must be of letters, digits, dots and dashes, got '../row'"),
        ({"told": "ranking"}, "feedback 'ranking' needs group_size > 1"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(board, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        compete(board(**changes))
    assert not any(tmp_path.iterdir())


def test_an_algorithm_does_not_choose_what_is_told(board, monkeypatch, tmp_path):
    for wanted in ({"split": "val"}, {"feedback": "exact"}, {"query_budget": 9}):
        monkeypatch.setattr(Greedy, "environment", wanted)
        with pytest.raises(InputError, match=f"{next(iter(wanted))} is the track's to say"):
            compete(board())
    assert not any(tmp_path.iterdir())


def test_a_run_that_fails_stops_none_of_the_others(tmp_path, monkeypatch):
    """In a process, of as many threads as asked for: the line says which, and why."""
    (tmp_path / "odd.py").write_text(
        "import numba, torch\n"
        "from test_leaderboard import Greedy\n\n\n"
        "class Odd(Greedy):\n"
        "    def __init__(self, num_classes, image_size, seed):\n"
        "        assert torch.get_num_threads() == numba.get_num_threads() == 1\n"
        "        super().__init__(num_classes, image_size, seed, fails=seed == 1)\n"
    )
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    track = Track.of("shapes", 10, "scales")
    data = TrackData("RSS/Shapes-ImageReward-v0", {}, (16,), None, "val")
    runs = [
        AlgorithmRun(track, data, "Odd", "odd:Odd", {}, seed, 1, tmp_path / "runs")
        for seed in (1, 2)
    ]
    with pytest.raises(InputError, match="^shapes-scales-10 Odd seed 1: RuntimeError: no luck"):
        learn_missing(runs, jobs=1)
    assert [run.is_done for run in runs] == [False, True]


def test_the_table_that_is_published_is_that_of_its_rows(board, tmp_path):
    compete(board(algo=(), published=PUBLISHED))
    assert (tmp_path / "report" / "table.md").read_text() == (PUBLISHED / "table.md").read_text()
