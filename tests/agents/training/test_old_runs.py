"""Runs that an earlier version has begun go on: options it did not have yet get their defaults.

The folders in `old_runs` were written at commit 891cc04, with the metrics of all four updates and
the training state after two.
"""

from __future__ import annotations

import dataclasses
import json
import tarfile
from pathlib import Path

import pytest

from rss_agents import train
from rss_agents.training.logging import versions
from rss_agents.training.resume import read_config
from rss_agents.training.states import RunStates, write_state
from rss_env.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

OLD = Path(__file__).with_name("old_runs")
NETWORK = ("--network", "network_of_the_old_runs:build")


def unpack(name: str, folder: Path, **changed: str) -> Path:
    """An old run, as if its versions had been today's but for those that are changed."""
    with tarfile.open(OLD / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    states = RunStates(folder / name)
    state, _ = states.read(2)
    today = {f"version of {package}": number for package, number in versions().items()}
    state["identity"] = {**state["identity"], **today, **changed}
    write_state(states.path(2), state)
    return folder / name


@pytest.mark.parametrize("name", ["rss", "sb3-ppo"])
def test_an_old_run_goes_on_as_it_would_have_gone(name, tmp_path):
    run = unpack(name, tmp_path)
    before = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert [row["update"] for row in before] == [1, 2, 3, 4]
    train.main(["--resume", str(run), *NETWORK])
    after = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    new = {"image_miou", "classes_counted"}  # measured since, by what goes on after update 2
    assert [set(row) for row in after[:3]] == [set(row) for row in before[:3]]
    assert set(after[3]) == set(before[3]) | new
    for then, now in zip(before, after, strict=True):
        measured = {key: value for key, value in now.items() if key not in new}
        assert measured == pytest.approx(then, rel=1e-3, abs=1e-4)
    result = json.loads((run / "result.json").read_text())
    assert (result["algo"], result["updates"]) == (name, 4)


def test_options_that_are_new_get_their_defaults(tmp_path):
    run = unpack("rss", tmp_path)
    stored = json.loads((run / "config.json").read_text())
    assert "metric_model" not in stored["agent"]
    config = read_config(run)
    assert config.agent.metric_model.covariance_cells == 192
    assert config.agent.replay == stored["agent"]["replay"] == 8
    assert config.metric == stored["metric"]


def test_what_has_changed_is_still_refused(tmp_path):
    run = unpack("rss", tmp_path, **{"version of torch": "0.1"})
    config = dataclasses.replace(read_config(run), out=run, resume=run)
    with pytest.raises(InputError, match=r"version of torch was 0\.1, is"):
        train.train(config)
