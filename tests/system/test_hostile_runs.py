"""Folders of runs that nobody vetted: options and states that are made up, and rivals for one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Tally, effort
from hypothesis import strategies as st

from fuzzing import fuzz, harmless, mutated, refused
from rss_agents.training.config import TrainConfig
from rss_agents.training.resume import read_config
from rss_agents.training.states import read_state, write_state
from training_runs import TINY

STATE = {"update": 3, "network": {"w": torch.arange(6.0), "b": torch.ones(2)}, "rows": [(1, None)]}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@pytest.fixture
def options(tmp_path) -> dict[str, object]:
    """The options of a run as JSON has them."""
    return json.loads(json.dumps(dataclasses.asdict(TrainConfig(tmp_path)), default=str))


def test_hostile_options(tmp_path, options, tally: Tally):
    original = json.dumps(options, indent=2).encode()
    changes = st.dictionaries(st.sampled_from(sorted(options)), VALUES, min_size=1, max_size=3)
    lies = changes.map(lambda change: json.dumps({**options, **change}).encode())
    path, outcomes = tmp_path / "config.json", {"read": 0, "refused": 0}

    @fuzz(tally, "options of runs tried", 300, mutated([original]) | lies | st.binary(max_size=99))
    def _(content: bytes) -> None:
        path.write_bytes(content)
        found: list[TrainConfig] = []
        with harmless(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            message = refused(lambda: found.append(read_config(tmp_path)))
        outcomes["read" if message is None else "refused"] += 1
        assert message is not None or isinstance(found[0].updates, int)

    assert min(outcomes.values()) > 2, outcomes


def test_hostile_states(tmp_path, tally: Tally):
    path = tmp_path / "update-00000003-rank0.safetensors"
    write_state(path, STATE)
    original = path.read_bytes()
    assert read_state(path)["rows"] == STATE["rows"]

    @fuzz(tally, "training states tried", 300, mutated([original]) | st.binary(max_size=300))
    def _(content: bytes) -> None:
        path.write_bytes(content)
        with harmless():
            message = refused(partial(read_state, path))
        assert (message is None) == (content == original) or _only_padding(path)


def _only_padding(path: Path) -> bool:
    """Whether a mutation changed nothing that is kept."""
    found = read_state(path)
    return all(
        torch.equal(found["network"][name], value) for name, value in STATE["network"].items()
    )


def test_rivals_for_one_folder(tmp_path, tally: Tally):
    """Trainings of other seeds that start at once: one writes, and the others say that it does."""
    rivals = effort(2, 3)
    for number in range(effort(1, 12)):
        out = tmp_path / f"run{number}"
        command = [sys.executable, "-m", "rss_agents.train", *TINY, "--updates", "6"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
        processes = [
            subprocess.Popen(
                [*command, "--eval-every", "2", "--out", str(out), "--seed", str(seed)],
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment,
            )
            for seed in range(rivals)
        ]  # fmt: skip
        said = [process.communicate(timeout=500)[1] for process in processes]
        codes = [process.returncode for process in processes]
        assert sorted(codes) == [0] + [2] * (rivals - 1), said
        for code, words in zip(codes, said, strict=True):
            if code == 2:
                assert "is being written to by" in words or "already holds a run" in words
        seed = codes.index(0)
        for name in ("config.json", "result.json"):
            assert json.loads((out / name).read_text())["seed"] == seed
        rows = [json.loads(line) for line in (out / "metrics.jsonl").open()]
        assert [row["update"] for row in rows] == list(range(7))
        assert not list(out.rglob("*.tmp"))
        tally("trainings that were refused a folder that another writes to", rivals - 1)
