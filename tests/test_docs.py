"""Every Python block of the documentation runs, page by page, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link
