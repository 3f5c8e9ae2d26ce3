"""Commands where nobody has a home and the package cannot be written to, as in containers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = re.findall(r'^rss-\w+ = "([\w.]+):main"', (ROOT / "pyproject.toml").read_text(), re.M)
NOBODY = 54321  # no user of any system
# As this user, who may read everything, as in an image, and writes nothing but what is its own.
AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
]  # fmt: skip
SCRIPT = """
import importlib
import sys

for module in sys.argv[1:]:
    importlib.import_module(module)
import matplotlib
import numpy as np

import rss_env
from rss_env.counter_random import integers_of_episodes

print(rss_env.__file__)
print(matplotlib.get_cachedir())
print(integers_of_episodes(9, np.arange(3), np.arange(3), 1).max() < 9)
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="homes and users are those of POSIX")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package beside whose modules nothing can be kept, by nobody."""
    for source in (ROOT / "rss_env", ROOT / "agents/rss_agents"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / "package" / source.name, ignore=ignored)
    for folder in [*(tmp_path / "package").rglob("*/"), tmp_path / "package"]:
        (folder / "__pycache__").touch()
    return tmp_path / "package"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user gets to, which one of pytest's is not, with two in it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for name in ("here", "tmp"):
            (Path(folder) / name).mkdir()
        yield Path(folder)


def test_every_command_can_be_imported_by_a_user_without_a_home(package, place):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "RSS_")) and name not in ("HOME", "USER", "LOGNAME")
    }
    environment |= {"PYTHONPATH": str(package), "TMPDIR": str(place / "tmp")}
    command = [sys.executable, "-c", SCRIPT, *MODULES]
    owner = os.getuid()
    if owner == 0 and shutil.which("setpriv"):
        owner, command = NOBODY, [*AS_NOBODY, *command]
        for name in ("here", "tmp"):
            os.chown(place / name, NOBODY, NOBODY)
    else:  # whose home is found in the list of users
        environment["HOME"] = "/dev/null/home"
    done = subprocess.run(
        command, cwd=place / "here", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(MODULES) >= 9
    used, drawing, drawn = done.stdout.splitlines()[-3:]
    assert Path(used).is_relative_to(package)
    assert Path(drawing).is_relative_to(place / "tmp" / f"rss-env-{owner}")
    assert drawn == "True"
    assert list((place / "tmp" / f"rss-env-{owner}").rglob("*.nbi"))  # of numba
    assert not list((place / "here").iterdir())
