"""The script for one GPU: tried whole on the CPU, and with parts that fail."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import (
    CUDA_TESTS,
    GpuConfig,
    Part,
    main,
    parts_of,
    run_part,
    write_table,
)
from lowest_versions import LEFT_OUT, PROJECT, lowest_versions

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "benchmarks" / "gpu"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_dry_run_on_the_cpu_does_every_part(tmp_path):
    out = tmp_path / "gpu"
    done = subprocess.run(
        [str(FOLDER / "run.sh"), "--device", "cpu", "--quick", "--out", str(out)],
        env={**os.environ, "PYTHON": sys.executable},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    logs = "".join(path.read_text() for path in out.rglob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert "3 of 3 parts done" in done.stdout
    assert {row["update"] for row in rows_of(out / "updates.csv")} >= {"psl, 32x32", "rss, 32x32"}
    assert len(rows_of(out / "steps.csv")) == 4
    learned = rows_of(out / "learning.csv")
    assert [(row["algorithm"], row["seed"]) for row in learned] == [("rss", "100"), ("psl", "100")]
    assert all(0 <= float(row["mIoU"]) <= 1 for row in learned)
    table = (out / "results.md").read_text()
    for part in ("| tests | done |", "| timings | done |", "| learning | done |"):
        assert part in table
    for title in ("Updates", "Steps of the environment", "Learning on Shapes"):
        assert f"## {title}\n" in table
    assert "skipped" in (out / "tests.log").read_text()
    assert re.search(r"^commit ", (out / "versions.txt").read_text(), re.MULTILINE)
    assert (out / "card.txt").read_text().strip()


def test_a_part_that_fails_or_hangs_stops_no_other(tmp_path, monkeypatch, capsys):
    python = (sys.executable, "-c")
    script = (
        "import subprocess, sys\n"
        "process = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        "print(process.pid, flush=True)\n"
        "process.wait()"
    )
    parts = [
        Part("tests", (*python, "raise SystemExit('broken')"), 60),
        Part("timings", (*python, script), 3),
        Part("learning", (*python, "print('well')"), 60),
    ]
    monkeypatch.setattr("benchmarks.gpu.__main__.parts_of", lambda *_: parts)
    out = tmp_path / "gpu"
    assert main(GpuConfig(device="cpu", out=out)) == 1
    said = capsys.readouterr().out
    assert "FAILED tests: exit status 1, see tests.log" in said
    assert "FAILED timings: not done after 3 s, see timings.log" in said
    assert "1 of 3 parts done" in said
    assert (out / "tests.log").read_text().strip() == "broken"
    started = int((out / "timings.log").read_text())  # what it started has ended with it
    assert not Path(f"/proc/{started}").exists() or "Z" in state_of(started)
    assert "| learning | done |" in (out / "results.md").read_text()
    assert main(GpuConfig(device="cpu", out=out)) == 1  # its own folder it replaces


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="holds other files"):
        main(GpuConfig(device="cpu", out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_all_parts_together_take_eight_minutes_at_most(tmp_path):
    parts = parts_of(GpuConfig(), tmp_path)
    assert [part.name for part in parts] == ["tests", "timings", "learning"]
    assert sum(part.seconds for part in parts) <= 8 * 60


def test_every_test_that_needs_a_device_is_run():
    marked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if "@pytest.mark.cuda\n" in path.read_text(encoding="utf-8")
    }
    assert marked == set(CUDA_TESTS)


def test_wheels_hold_what_the_package_needs_each_with_its_reason():
    lines = (FOLDER / "wheels.txt").read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([\w-]+) *(?:# (.+))?", line) for line in lines if line[:1] not in "#"]
    listed = {match[1]: match[2] for match in found if match is not None}
    assert None not in found
    needed = lowest_versions(PROJECT.read_text(encoding="utf-8"))
    assert set(needed) - {*LEFT_OUT} <= set(listed)
    obvious = {"numpy", "pytest"}
    assert all(reason for name, reason in listed.items() if name not in obvious)


def test_the_table_tells_of_parts_so_far(tmp_path):
    outcome = run_part(Part("tests", (sys.executable, "-c", ""), 60), tmp_path)
    write_table([outcome], "a card", tmp_path)
    assert "| tests | done | 0 |" in (tmp_path / "results.md").read_text()
