"""Where caches lie without a home: in a folder of one's own, or nowhere, and never in others'."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

from rss_env import cache_folders, compiled
from rss_env.array_cache import keep_array
from rss_env.cache_files import cache_folder
from rss_env.cache_folders import cache_place, redirect_caches
from rss_env.errors import InputError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="homes and rights are those of POSIX")

VARIABLES = tuple(cache_folders._VARIABLES)


@pytest.fixture(autouse=True)
def environment(monkeypatch) -> Iterator[None]:
    """No variable says where caches lie, and what was found out before is forgotten."""
    before = dict(os.environ)
    for name in (*VARIABLES, "RSS_CACHE_DIR", "XDG_CACHE_HOME", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    cache_folders._temporary_folder.cache_clear()
    yield
    cache_folders._temporary_folder.cache_clear()
    for name in VARIABLES:
        if name not in before:
            os.environ.pop(name, None)


@pytest.fixture(params=["/dev/null/home", "~", "no/home"])
def no_home(request: pytest.FixtureRequest, monkeypatch, tmp_path) -> Path:
    """A home that cannot be had, and the folder that temporary files go to."""
    monkeypatch.setenv("HOME", request.param)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "tmp"


def test_with_a_home_nothing_is_redirected(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = dict(os.environ)
    redirect_caches()
    assert dict(os.environ) == before
    assert cache_place() == cache_folder()
    assert str(cache_place()).startswith(str(tmp_path / "home"))
    assert not list(tmp_path.iterdir())


def test_without_a_home_there_is_a_folder_of_ones_own(no_home, monkeypatch):
    folder = no_home / f"rss-env-{os.getuid()}"
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    redirect_caches()
    assert os.environ["NUMBA_CACHE_DIR"] == str(folder / "numba")
    assert os.environ["MPLCONFIGDIR"] == "/mine"  # what is set stays
    assert set(VARIABLES) <= set(os.environ)
    assert folder.stat().st_mode & 0o777 == 0o700
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (keep_array("ones", "here", "now", lambda: np.ones(3)).values == 1).all()
    assert len(list(folder.glob("ones-*.npy"))) == 1
    assert not list(Path.cwd().iterdir())


def test_a_temporary_folder_of_others_is_not_taken(no_home, tmp_path):
    folder = no_home / f"rss-env-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    assert cache_place() is None
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    cache_folders._temporary_folder.cache_clear()
    assert cache_place() is None
    redirect_caches()
    assert not set(VARIABLES) & set(os.environ)


def test_without_a_temporary_folder_there_is_no_cache_and_nothing_in_the_working_folder(
    no_home, monkeypatch
):
    monkeypatch.setattr(tempfile, "gettempdir", os.getcwd)  # its last resort
    assert cache_place() is None
    cache_folders._temporary_folder.cache_clear()

    def none_found() -> str:
        raise FileNotFoundError("no usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none_found)
    assert cache_place() is None
    assert (keep_array("ones", "here", "now", lambda: np.ones(3)).values == 1).all()
    assert not list(Path.cwd().iterdir())


def test_a_cache_in_a_home_that_there_is_not_is_refused(monkeypatch):
    monkeypatch.setenv("RSS_CACHE_DIR", "~nobody-has-this-name/cache")
    with pytest.raises(InputError, match=r"RSS_CACHE_DIR '~nobody-has-this-name/cache' cannot"):
        cache_folder()


def test_functions_are_compiled_whether_their_code_is_kept_or_not(monkeypatch, tmp_path):
    source = tmp_path / "functions.py"
    source.write_text("def add(a, b):\n    return a + b\n")
    names: dict[str, FunctionType] = {}
    exec(compile(source.read_text(), source, "exec"), names)
    kept = compiled.compiled()(names["add"])
    assert kept.stats.cache_path == str(tmp_path / "__pycache__")
    (tmp_path / "__pycache__").rmdir()
    (tmp_path / "__pycache__").touch()  # as good as a folder that cannot be written to
    monkeypatch.setenv("HOME", "/dev/null/home")
    monkeypatch.setattr(compiled, "cache_place", lambda: None)
    for able in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda *_, able=able: able)
            alone = compiled.compiled()(names["add"])
        assert alone.stats.cache_path is None
        assert alone(1, 2) == 3
