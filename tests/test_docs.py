"""Every Python block of the documentation runs, page by page, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import tyro
from torch.distributed.run import get_args_parser

from agents.train_config import TrainConfig

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = [
    pytest.param(page, code, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.rglob("*.md"))
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize(("page", "code"), BLOCKS)
def test_blocks_run(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "import tianshou" in code or "from tianshou" in code:
        pytest.importorskip("tianshou")  # needs Python 3.11
    exec(compile(code, page.name, "exec"), {"__name__": "example"})


def test_commands_of_several_processes_are_understood():
    page = (DOCS / "several-machines.md").read_text()
    lines = "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ")
    commands = [line for line in lines.splitlines() if line.startswith("torchrun")]
    assert len(commands) == 2
    for launcher, arguments in (command.split(" -m agents.train ") for command in commands):
        program, *options = shlex.split(launcher)
        assert program == "torchrun"
        get_args_parser().parse_args([*options, "-m", "agents.train"])
        tyro.cli(TrainConfig, args=shlex.split(arguments))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link
