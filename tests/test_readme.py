"""What the README says is so: its code runs, its file tree is the tree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import tyro

from agents.evaluate import EvalConfig
from agents.predict import PredictConfig
from agents.train import TrainConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_blocks_run():
    assert blocks("python")
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), {})


def test_commands_are_understood():
    configs = {"rss-train": TrainConfig, "rss-eval": EvalConfig, "rss-predict": PredictConfig}
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("rss-")]
    assert {command[0] for command in commands} == set(configs)
    for program, *arguments in commands:
        tyro.cli(configs[program], args=arguments)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make (\w+)", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("package", ["rss_env", "agents"])
def test_the_file_tree_is_the_tree(package):
    tree = README.split("## Layout")[1]
    section = tree.split(f"\n{package}/")[1].split("\n\n")[0]
    section = re.split(r"\n(?=\S)", section)[0]
    named = set(re.findall(r"^  (\w+\.py|\w+/)", section, re.MULTILINE))
    there = {p.name for p in (ROOT / package).glob("*.py") if p.name != "__init__.py"}
    there |= {f"{p.name}/" for p in (ROOT / package).iterdir() if (p / "__init__.py").exists()}
    assert named == there


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r'src="([^"]+)"', README)
    assert any(path.endswith(".png") for path in links)
    for path in links:
        assert (ROOT / path).is_file(), path
