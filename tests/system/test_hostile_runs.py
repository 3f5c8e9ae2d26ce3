"""Folders of runs that nobody vetted: options and training states that are mutated or made up."""

from __future__ import annotations

import dataclasses
import json
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import Tally
from hypothesis import strategies as st

from fuzzing import fuzz, harmless, mutated, refused
from rss_agents.training.config import TrainConfig
from rss_agents.training.resume import read_config
from rss_agents.training.states import read_state, write_state

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
