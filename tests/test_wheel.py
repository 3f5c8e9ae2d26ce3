"""What a built wheel holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "rss_env", "agents", "benchmarks")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

pytestmark = pytest.mark.skipif(
    not {"pip", "setuptools"} <= {found.name for found in distributions()},
    reason="cannot build wheels here",
)


def _run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; the source tree is not on its path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "results")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    build = (*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", folder)
    _run(*build, source, cwd=folder)
    (built,) = folder.glob("rss_env-*.whl")
    return built


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt")))
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("rss_env", "agents", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
    }
    assert modules == {name for name in names if name.endswith(".py")}
    assert {"rss_env/py.typed", "agents/py.typed"} <= set(names)
    assert not [name for name in names if re.match(r"(tests|docs|examples|site)/", name)]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    scripts = re.findall(r"^(rss-\w+) = (\w+)\.", entry_points.decode(), re.MULTILINE)
    assert ("rss-train", "agents") in scripts
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {name for name, _ in scripts} == set(re.findall(r"^(rss-\w+) =", project, re.MULTILINE))
