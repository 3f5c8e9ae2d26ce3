"""Scorers of the user's own that fail: told in a line, in time, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from rss_agents import train
from rss_agents.training.guarded_scorer import GuardedScorer, ScorerFailedError
from rss_env.errors import InputError
from training_runs import TINY, prefer_houses, start

CALLS = [0]


def hang(images, action_maps):
    while True:
        with contextlib.suppress(Exception):  # it will not be interrupted
            time.sleep(0.01)


def fail(images, action_maps):
    raise KeyError("no model\nis loaded")


def fail_later(images, action_maps):
    CALLS[0] += 1
    return prefer_houses(images, action_maps) if CALLS[0] < 7 else fail(images, action_maps)


def constant(images, action_maps):
    return torch.full(action_maps.shape[:2], 0.4)


def test_an_error_names_the_scorer_and_the_line():
    with pytest.raises(ScorerFailedError, match=r"^scorer m:f raised KeyError: .*no model") as told:
        GuardedScorer(fail, "m:f", 5)(None, None)
    assert "test_guarded_scorer.py, line " in str(told.value)
    assert isinstance(told.value.__cause__, KeyError)


def test_what_is_wrong_with_the_input_is_said_by_the_scorer_itself():
    def refuse(images, action_maps):
        raise InputError("this image is not of the suite")

    with pytest.raises(InputError, match=r"^this image is not of the suite$"):
        GuardedScorer(refuse, "m:f", 5)(None, None)


def test_a_scorer_that_hangs_is_left_in_time():
    handler, began = signal.getsignal(signal.SIGALRM), time.monotonic()
    with pytest.raises(ScorerFailedError, match=r"m:f has not answered within 0.2 s; --scorer-ti"):
        GuardedScorer(hang, "m:f", 0.2)(None, None)
    assert time.monotonic() - began < 5
    assert signal.getsignal(signal.SIGALRM) is handler


def test_anothers_alarm_goes_on():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    others = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        GuardedScorer(lambda images, action_maps: time.sleep(0.05), "m:f", 60)(None, None)
        assert not rung
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left < 0.26
        deadline = time.monotonic() + 10
        while not rung and time.monotonic() < deadline:
            time.sleep(0.01)
        assert rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)
        signal.signal(signal.SIGALRM, before)


def test_in_another_thread_there_is_no_limit():
    answers = []
    scorer = GuardedScorer(lambda images, action_maps: time.sleep(0.1) or 5, "m:f", 0.01)
    thread = threading.Thread(target=lambda: answers.append(scorer(None, None)))
    thread.start()
    thread.join()
    assert answers == [5]


def test_a_training_stops_with_a_line_and_can_go_on(tmp_path, capsys):
    CALLS[0] = 0
    out, scorer = tmp_path / "run", ("--scorer", "test_guarded_scorer:fail_later")
    with pytest.raises(SystemExit) as stop:
        start(out, *scorer)
    assert stop.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("rss-train: error: scorer test_guarded_scorer:fail_later raised KeyErr")
    assert error.endswith(f"; go on from update 2 with --resume {out}")
    CALLS[0] = -1000
    train.main(["--resume", str(out), *scorer])
    assert json.loads((out / "result.json").read_text())["updates"] == 6


def test_a_limit_of_no_time_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        start(tmp_path / "run", "--scorer-timeout", "0")
    assert "scorer_timeout must be positive, got 0" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--queries", "16"), ("--objective", "policy_gradient")])
def test_constant_scores_are_told_once_and_teach_nothing(arguments, tmp_path):
    scorer = ("--scorer", "test_guarded_scorer:constant", *arguments)
    with pytest.warns(UserWarning, match="have the same score, 0.4: nothing can be") as told:
        start(tmp_path / "six", *scorer)
    assert len([w for w in told if "same score" in str(w.message)]) == 1
    with pytest.warns(UserWarning, match="nothing can be learned"):
        train.main([*TINY, "--updates", "6", "--out", str(tmp_path / "one"), *scorer])
    weights, others = (load_file(tmp_path / run / "best.safetensors") for run in ("six", "one"))
    body = [name for name in weights if name.startswith("body.") and "running" not in name]
    assert body
    for name in body:
        if "num_batches" not in name:
            assert weights[name].equal(others[name])
    first, last = (load_file(tmp_path / "six" / f"{n}.safetensors") for n in ("best", "model"))
    assert all(first[name].equal(last[name]) for name in body if "num_batches" not in name)
