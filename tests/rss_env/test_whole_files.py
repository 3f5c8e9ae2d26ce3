"""Files that are written in one move: the rights they get, whatever writes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rss_agents.files import write_json, write_picture, write_tensors
from rss_env.array_cache import keep_array
from rss_env.whole_files import replace_file
from training_runs import run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="rights are those of POSIX")


@pytest.fixture(params=[0o022, 0o007, 0o077], ids=oct)
def rights(request: pytest.FixtureRequest) -> Iterator[int]:
    """The rights of a new file, in turn for everybody to read, for a group to write, for one."""
    before = os.umask(request.param)
    yield 0o666 & ~request.param
    os.umask(before)


def rights_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def write_for_its_owner_alone(path: Path) -> None:
    """As some libraries write: a file of their own, which takes the place of the one there is."""
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    os.replace(temporary, path)


def test_files_have_the_rights_of_new_files(rights, tmp_path, monkeypatch):
    monkeypatch.setenv("RSS_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):  # new, and in the place of one
        replace_file(tmp_path / "any", write_for_its_owner_alone)
        write_tensors(tmp_path / "weights.safetensors", {"x": torch.ones(2)}, {})
        write_json(tmp_path / "facts.json", {"a": 1})
        write_picture(tmp_path / "picture.png", Image.new("L", (2, 2)))
        keep_array("numbers", "here", "now", lambda: np.ones(3))
    (cached,) = (tmp_path / "cache").glob("*.npy")
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(files) == 4
    assert {rights_of(path) for path in [*files, cached]} == {rights}


def test_everything_of_a_run_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        run(tmp_path / "run")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 8
    assert {path.name: oct(rights_of(path)) for path in files} == {
        path.name: oct(0o644) for path in files
    }
