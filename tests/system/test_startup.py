"""Commands start at once: options are shown without what trains, and output need not be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = dict(
    re.findall(r'^(rss-\w+) = "([\w.]+):main"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
)
HEAVY = ("torch", "numba", "torchvision", "matplotlib", "tensorboard", "gymnasium", "pydantic")
SHOW_OPTIONS = """
import importlib, sys
try:
    importlib.import_module(sys.argv[1]).main(["--help"])
finally:
    print("loaded:", *(name for name in sys.argv[2:] if name in sys.modules), file=sys.stderr)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, text=True, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_are_shown_without_loading_what_trains(command):
    shown = run("-c", SHOW_OPTIONS, COMMANDS[command], *HEAVY)
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"usage: {command}")
    assert shown.stderr.strip() == "loaded:"


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
@pytest.mark.parametrize("arguments", [["--help"], ["--no-such-option"]])
def test_output_that_nobody_reads_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    on_stdout = arguments == ["--help"]
    done = subprocess.run(
        [sys.executable, "-m", "rss_agents.train", *arguments],
        cwd=ROOT,
        text=True,
        stdout=writer if on_stdout else subprocess.PIPE,
        stderr=subprocess.PIPE if on_stdout else writer,
    )
    os.close(writer)
    assert done.returncode == 141
    assert (done.stderr if on_stdout else done.stdout) == ""


@pytest.mark.parametrize("order", ["rss_env, gymnasium", "gymnasium, rss_env"])
def test_environments_are_registered_whichever_is_imported_first(order):
    found = run(
        "-c",
        f"import {order}, sys; assert 'torch' not in sys.modules; "
        "print(*(name for name in gymnasium.registry if name.startswith('RSS/')))",
    )
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.split()) == 20  # four of each of five data sets
    assert "RSS/Shapes-ImageReward-v0" in found.stdout


def test_looking_for_gymnasium_does_not_use_up_the_registration():
    found = run(
        "-c",
        "import importlib.util, rss_env; importlib.util.find_spec('gymnasium'); import gymnasium; "
        "assert 'RSS/Shapes-ImageReward-v0' in gymnasium.registry",
    )
    assert found.returncode == 0, found.stderr
