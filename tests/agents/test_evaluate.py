"""`rss-eval`: it measures what training measured."""

from __future__ import annotations

import json

import pytest

from rss_agents import evaluate
from training_runs import run


def test_evaluation_command_agrees_with_training(tmp_path, capsys):
    result = run(tmp_path / "run")
    capsys.readouterr()
    evaluate.main(["--checkpoint", str(tmp_path / "run"), "--env", result["env"]])
    printed = json.loads(capsys.readouterr().out)
    assert printed["miou"] == pytest.approx(result["miou"], abs=1e-12)
    assert printed["pixel_accuracy"] == pytest.approx(result["pixel_accuracy"], abs=1e-12)
    evaluate.main(["--checkpoint", str(tmp_path / "run"), "--full-resolution"])
    assert json.loads(capsys.readouterr().out)["images"] == 200
