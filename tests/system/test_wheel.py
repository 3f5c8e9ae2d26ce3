"""What a built wheel holds, and that a beginner gets along with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from test_docs import BLOCK, GET_STARTED, SHORTER, commands

from lowest_versions import lowest_versions

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "rss_env", "agents")
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
        path.relative_to(root).as_posix()
        for root, package in ((ROOT, "rss_env"), (ROOT / "agents", "rss_agents"))
        for path in (root / package).rglob("*.py")
    }
    assert modules == {name for name in names if name.endswith(".py")}
    assert {"rss_env/py.typed", "rss_agents/py.typed"} <= set(names)
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"rss_env", "rss_agents"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    scripts = re.findall(r"^(rss-\w+) = (\w+)\.", entry_points.decode(), re.MULTILINE)
    assert ("rss-train", "rss_agents") in scripts
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert {name for name, _ in scripts} == set(re.findall(r"^(rss-\w+) =", project, re.MULTILINE))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, as `pip install .` makes it in a clone.

    Its dependencies are those of this environment, or, with RSS_CLEAN_INSTALL set, its own.
    """
    folder = tmp_path_factory.mktemp("clean") / ".venv"
    venv.create(folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = (*PIP, "--python", python, "install", "-q")
    if os.environ.get("RSS_CLEAN_INSTALL"):
        _run(*install, wheel, "-c", ROOT / "constraints.txt", cwd=folder)
    else:
        _run(*install, "--no-deps", "--no-index", wheel, cwd=folder)
        own = _run(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        )
        # (Of a path that is borrowed, no further .pth is read: not that of an editable install.)
        (Path(own.strip()) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.mark.skipif(os.name == "nt", reason="the page shows commands of a POSIX shell")
def test_get_started_works_word_by_word_with_the_wheel(clean, tmp_path):
    """But for the number of updates, and for what makes the environment."""
    script, made = [], ("python3 -m venv", "source ", "pip install .")
    for number, (language, code) in enumerate(BLOCK.findall(GET_STARTED.read_text())):
        if language == "python":
            file = tmp_path / f"block{number}.py"
            file.write_text(code)
            script.append(f"python {file.name}")
            continue
        for command in commands(code):
            if command.startswith("rss-train"):
                command += " " + " ".join(SHORTER)
            if not command.startswith(made):
                script.append(command)
    assert len(script) > 6
    path = f"{clean.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    text = (
        "set -eux\n" + "\n".join(script) + "\npython -c 'import rss_env; print(rss_env.__file__)'\n"
    )
    done = subprocess.run(
        ["bash", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert Path(done.stdout.splitlines()[-1]).is_relative_to(clean.parents[1])
    assert len(list((tmp_path / "segmented").glob("*_overlay.png"))) == 4


def test_a_project_may_have_agents_and_benchmarks_of_its_own(clean, tmp_path):
    """Its folders come first on the path, as wherever a script of its runs, and change nothing."""
    for name in ("agents", "benchmarks", "train", "training", "losses", "networks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWN = True\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import agents, benchmarks, rss_agents, rss_env\n"
        "assert agents.OWN and benchmarks.OWN\n"
        "from rss_agents.train import main\n"
        "main('--out run --updates 2 --eval-every 2 --num-images 2 --group-size 2 "
        "--image-size 16 --scales 8 4'.split())\n"
        "print(rss_agents.__file__)\n"
    )
    printed = _run(clean, script, cwd=tmp_path)
    assert Path(printed.splitlines()[-1]).is_relative_to(clean.parents[1])
    assert (tmp_path / "run" / "result.json").exists()


def test_every_dependency_has_a_lowest_version_that_is_tried(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA")))
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata.decode(), re.MULTILINE)
    tried = lowest_versions((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert len(required) > 10
    assert set(required) == set(tried)
