"""Runs of a comparison: when one is done."""

from __future__ import annotations

from pathlib import Path

from benchmarks.learning.evidence import commit
from benchmarks.learning.report import heading
from benchmarks.learning.runs import Run, run_missing


def run(folder: Path, updates: int = 5, extra: tuple[str, ...] = ()) -> Run:
    return Run("shapes", "psl", 3, updates, folder, None, extra)


def test_a_run_is_done_only_with_its_own_arguments(tmp_path):
    asked = run(tmp_path)
    asked.folder.mkdir(parents=True)
    assert not asked.is_done
    (asked.folder / "result.json").write_text("{}")
    assert not asked.is_done  # of whatever arguments that was
    asked.record(commit(), 2)
    assert asked.is_done
    assert asked.commit == commit()
    head = heading("benchmarks.learning", "shapes", [asked], "settings.json", tuning=False)
    assert "\nThreads of a run: 2. Other numbers of threads give other numbers.\n" in head
    assert not run(tmp_path, extra=("--learning-rate", "0.1")).is_done
    assert not run(tmp_path, updates=6).is_done
    asked.forget()
    assert not asked.is_done


def test_a_run_that_fails_is_told_with_what_it_said(tmp_path):
    """Wrong options are told in a box, whose last line is its frame; other errors in a line."""
    (said,) = run_missing([run(tmp_path, extra=("--group-sise", "4"))], jobs=1)
    assert said.startswith("shapes psl seed 3: ")
    assert "--group-sise" in said
    assert "╯" not in said
    (said,) = run_missing([run(tmp_path, extra=("--image-size", "-1"))], jobs=1)
    assert said.startswith("shapes psl seed 3: rss-train: error: ")
