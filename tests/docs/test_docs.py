"""The documentation's code runs, page by page, in an empty folder; its commands are understood."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import gymnasium as gym
import pytest
import tyro
from PIL import Image
from torch.distributed.run import get_args_parser

from rss_agents.training.config import TrainConfig
from rss_env.datasets import DATASETS
from rss_env.rewards import METRICS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
GET_STARTED = DOCS / "get-started.md"
BLOCK = re.compile(r"```(python|bash)\n(.*?)```", re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """A page's blocks in one language."""
    return [code for name, code in BLOCK.findall(page.read_text()) if name == language]


def commands(code: str) -> list[str]:
    """The commands of a block of shell, a line each."""
    lines = [line.partition("  #")[0].strip() for line in code.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def run_python(code: str, name: str, folder: Path) -> None:
    """Run a block from a file, where compilers find it; what it registers is forgotten.

    A block that starts with the name of a file is left under that name.
    """
    named = re.match(r"# (\w+)\.py\n", code)
    file = folder / f"{named[1] if named else name.replace('-', '_')}.py"
    file.write_text(code)
    tables = (DATASETS, METRICS, gym.registry)
    with patch.dict(tables[0]), patch.dict(tables[1]), patch.dict(tables[2]):
        exec(compile(code, str(file), "exec"), {"__name__": "example"})


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, code in enumerate(blocks(page, "python"))
    ],
)
def test_blocks_run(page, code, tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    for name in ("tianshou", "minari"):  # the first needs Python 3.11
        if re.search(rf"^(import|from) {name}", code, re.MULTILINE):
            pytest.importorskip(name)
    run_python(code, page.stem, tmp_path)


def check_pip(arguments: list[str]) -> None:
    """`pip install` of this project, with extras that there are."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert arguments[0] == "install"
    for wanted in arguments[1:]:
        name, _, extras = wanted.rstrip("]").partition("[")
        assert name in (".", "rss-env")
        for extra in filter(None, extras.split(",")):
            assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def check_python(arguments: list[str]) -> None:
    """A module or a file that is there, or a virtual environment to be made."""
    if arguments[0] == "-m":
        assert arguments[1] == "venv" or importlib.util.find_spec(arguments[1])
    else:
        assert (ROOT / arguments[0]).is_file()


def check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in arguments:
        if "=" in target:  # a variable that it reads
            assert f"$({target.partition('=')[0]})" in makefile, target
            continue
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def check_torchrun(arguments: list[str]) -> None:
    """A launcher and a training that both understand their options."""
    split = arguments.index("rss_agents.train")
    assert arguments[split - 1] == "-m"
    get_args_parser().parse_args([*arguments[: split - 1], "-m", "rss_agents.train"])
    tyro.cli(TrainConfig, args=arguments[split + 1 :])


def check_docker(arguments: list[str]) -> None:
    """An image that the Dockerfile makes, or a command of the project in one."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    if arguments[0] == "build":
        assert (ROOT / arguments[-1]).resolve() == ROOT
        for argument in re.findall(r"--build-arg (\w+)=", " ".join(arguments)):
            assert re.search(rf"^ARG {argument}=", dockerfile, re.MULTILINE), argument
        return
    assert arguments[0] == "run"
    (image,) = (number for number, word in enumerate(arguments) if re.match("rss-env(:|$)", word))
    program, *options = arguments[image + 1 :]
    assert re.search(rf"^{program} = ", project, re.MULTILINE), program
    assert program == "rss-train"
    tyro.cli(TrainConfig, args=options)


# By program. Those of the project are held against their options by `test_readme.py`.
CHECKS: dict[str, Callable[[list[str]], None]] = {
    "pip": check_pip,
    "python": check_python,
    "python3": check_python,
    "make": check_make,
    "torchrun": check_torchrun,
    "docker": check_docker,
    "source": lambda arguments: None,
}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_commands_are_understood(page):
    for code in blocks(page, "bash"):
        for command in commands(code):
            program, *arguments = shlex.split(command)
            if not program.startswith("rss-"):
                CHECKS[program](arguments)


def test_both_ways_to_start_several_processes_are_shown():
    text = "\n".join(blocks(DOCS / "several-machines.md", "bash"))
    assert len(re.findall(r"^torchrun", text, re.MULTILINE)) == 2


PROGRAMS = {
    "rss-train": "rss_agents.train",
    "rss-eval": "rss_agents.evaluate",
    "rss-predict": "rss_agents.predict",
    "rss-data": "rss_agents.data",
    "rss-export": "rss_agents.export",
}
SHORTER = shlex.split(
    "--updates 2 --eval-every 2 --num-images 2 --group-size 2 --image-size 16 --scales 8 4"
)


def check_own_photographs(page: str) -> None:
    """Five commands have led from masks in colours to predictions in these colours."""
    section = page.split("## Your own photographs")[1].split("\n## ")[0]
    programs = [
        command.split()[0]
        for code in BLOCK.findall(section)
        for command in (commands(code[1]) if code[0] == "bash" else [])
    ]
    assert programs == ["rss-data", "rss-data", "rss-train", "rss-eval", "rss-predict"]
    colours = {
        tuple(map(int, line.split()[1:])) for line in Path("classes.txt").read_text().splitlines()
    }
    for photo in Path("new_photos").iterdir():
        with Image.open(Path("segmented_photos") / f"{photo.stem}.png") as drawn:
            assert drawn.size == Image.open(photo).size
            found = drawn.convert("RGB").getcolors() or []
        assert {colour for _, colour in found} <= colours


@pytest.mark.parametrize("name", ["get-started", "own-data", "own-network"])
def test_the_page_works_from_top_to_bottom(name, tmp_path, monkeypatch, one_thread):
    """Word by word, but for the number of updates and what installs the package."""
    page = DOCS / f"{name}.md"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for number, (language, code) in enumerate(BLOCK.findall(page.read_text())):
        if language == "python":
            run_python(code, f"{page.stem}_{number}", tmp_path)
            continue
        for command in commands(code):
            program, *arguments = shlex.split(command)
            if program in PROGRAMS:
                arguments += SHORTER if program == "rss-train" else []
                importlib.import_module(PROGRAMS[program]).main(arguments)
    if page == GET_STARTED:
        left = {path.name for path in Path("runs/first").iterdir()}
        table = page.read_text().split("| what |")[1].split("\n\n")[0]
        assert set(re.findall(r"`([\w.]+)`", table)) <= left
        maps = {path.name for path in Path("segmented").glob("*.png")}
        assert {path.name for path in Path("pictures").iterdir()} <= maps
        check_own_photographs(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", re.sub(BLOCK, "", page.read_text())):
        if "://" not in link:
            assert (page.parent / link).exists(), link
