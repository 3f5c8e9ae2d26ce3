"""`rss-rate`: its training does not outlive the process that serves the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rss_agents import train
from rss_agents.folder_lock import check_unlocked
from rss_agents.training.states import RunStates
from rss_env.errors import InputError
from training_runs import TINY

# What rss-rate does, without a page.
RATE = """
import multiprocessing, sys
from pathlib import Path
from rss_agents.live.rate import _few_questions, _train
from dataclasses import replace

if __name__ == "__main__":
    options = replace(_few_questions(), out=Path(sys.argv[1]), image_size=(16,), num_images=1)
    training = multiprocessing.get_context("spawn").Process(target=_train, args=(options,))
    training.start()
    training.join()
"""
SECONDS = 300.0  # that a busy machine may take


def wait_until(condition, what: str) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def is_unlocked(folder: Path) -> bool:
    try:
        check_unlocked(folder)
    except InputError:
        return False
    return True


def test_a_training_whose_page_is_killed_stops_with_its_state_saved(tmp_path, capsys):
    out, script = tmp_path / "run", tmp_path / "rate.py"
    script.write_text(RATE)
    with (tmp_path / "errors").open("w") as errors:
        page = subprocess.Popen(
            [sys.executable, str(script), str(out)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            asked = out / "ratings/open.json"
            wait_until(lambda: asked.exists() or page.poll() is not None, "nothing is asked")
            with pytest.raises(SystemExit):
                train.main([*TINY, "--out", str(out), "--overwrite"])
            said = capsys.readouterr().err
            holder = json.loads((out / ".writer.json").read_text())
            assert f"{out} is being written to by process {holder['process']} on " in said
            assert holder["process"] != page.pid
        finally:
            page.kill()
            page.wait()
    wait_until(lambda: is_unlocked(out), "the training goes on without its page")
    assert json.loads((out / "progress.json").read_text())["state"] == "stopped"
    assert RunStates(out).last() == 0
    said = (tmp_path / "errors").read_text()
    assert "rss-rate: the page has ended, and the training stops with it" in said
    assert f"go on with --resume {out}" in said
    assert "Traceback" not in said
