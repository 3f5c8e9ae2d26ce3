"""Training states: what is written is read."""

from __future__ import annotations

import pytest
import torch

from rss_agents.training.states import RunStates, read_state, write_state


def test_states_hold_what_was_put_in(tmp_path):
    state = {
        "numbers": [1, 2.5, None, True, "text", (1, [2])],
        "tensors": {3: torch.arange(4), "half": torch.zeros(2, 0).half(), "one": torch.ones(())},
    }
    write_state(tmp_path / "state", state)
    found = read_state(tmp_path / "state")
    assert found["numbers"] == state["numbers"]
    for name, value in state["tensors"].items():
        torch.testing.assert_close(found["tensors"][name], value, rtol=0, atol=0)
    with pytest.raises(TypeError, match="not object"):
        write_state(tmp_path / "other", {"x": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_states_of_later_updates_are_forgotten(tmp_path):
    states = RunStates(tmp_path, keep=9)
    for update in (2, 4, 10):
        states.write(update, {})
    other = states.path(10, of_rank=1)
    other.touch()
    (states.folder / "notes.safetensors").touch()
    states.forget_after(4)
    assert states.updates() == [2, 4]
    assert not other.exists()
    assert (states.folder / "notes.safetensors").exists()
