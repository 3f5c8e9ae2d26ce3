"""Compiled functions: their code is kept, and not used when what they call has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

from rss_env.compiled import compiled

ROOT = Path(__file__).parents[2]
KERNEL = """
from helper import amount
from rss_env.compiled import compiled


@compiled()
def add(x):
    return x + amount()


print(add(1), sum(add.stats.cache_hits.values()))
"""
HELPER = """
from rss_env.compiled import compiled


@compiled()
def amount():
    return {}
"""


@pytest.fixture
def run(tmp_path):
    """Runs the kernel in a new process: what it gives, and how often code was found."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")

    def in_new_process() -> tuple[int, int]:
        (tmp_path / "kernel.py").write_text(KERNEL)
        os.utime(tmp_path / "kernel.py", (1, 1))
        command = [sys.executable, "-c", "import kernel"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        result, hits = done.stdout.split()
        return int(result), int(hits)

    return in_new_process


def test_code_is_kept_until_a_helper_in_another_file_changes(run, tmp_path):
    helper = tmp_path / "helper.py"
    helper.write_text(HELPER.format(2))
    os.utime(helper, (1, 1))
    assert run() == (3, 0)
    assert run() == (3, 1)
    helper.write_text(HELPER.format(5))
    os.utime(helper, (1, 1))  # of the same size and time
    assert run() == (6, 0)
    assert run() == (6, 1)


def test_what_killed_processes_were_writing_is_removed(tmp_path):
    source = tmp_path / "functions.py"
    source.write_text("def add(a, b):\n    return a + b\n")
    names: dict[str, FunctionType] = {}
    exec(compile(source.read_text(), source, "exec"), names)
    folder = tmp_path / "__pycache__"
    folder.mkdir()
    old, new = (folder / f"functions.add-1.nbi.tmp.{number}" for number in ("0123", "4567"))
    kept = folder / "functions.add-1.nbi"
    for path in (old, new, kept):
        path.touch()
    for path in (old, kept):
        os.utime(path, (1, 1))
    assert compiled()(names["add"]).stats.cache_path == str(folder)
    assert sorted(folder.iterdir()) == [kept, new]


def files_of(folder: Path, ending: str) -> list[Path]:
    return sorted((folder / "cache").rglob(f"kernel.add*.{ending}"))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-60] + bytes([content[-60] ^ 1]) + content[-59:]


@pytest.mark.parametrize(
    ("ending", "damage"), [("nbi", cut), ("nbi", lambda _: b""), ("nbc", cut), ("nbc", flip)]
)
def test_damaged_code_is_compiled_again(run, tmp_path, ending, damage):
    (tmp_path / "helper.py").write_text(HELPER.format(2))
    assert run() == (3, 0)
    (file,) = files_of(tmp_path, ending)
    file.write_bytes(damage(file.read_bytes()))
    assert run() == (3, 0)
    assert run() == (3, 1)  # and kept


def test_code_that_cannot_be_kept_is_used_nevertheless(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER.format(2))
    (tmp_path / "kernel.py").write_text(KERNEL)
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); import kernel"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    command = [sys.executable, "-c", full]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["3", "0"], done.stderr
    assert done.stderr.count("cannot be kept") == 1
    assert "File too large" in done.stderr
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
