"""The site builds without a warning, and every link in it leads to a place that is there."""

from __future__ import annotations

import importlib.util
import logging
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import rss_env

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).parents[2]


class _Places(HTMLParser):
    """Anchors of a page, and what it links to or shows."""

    def __init__(self, page: Path):
        super().__init__()
        self.anchors, self.links = set[str](), set[str]()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.links |= {values[name] for name in ("href", "src") if name in values}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config.plugins.on_startup(command="build", dirty=False)
        build(config)  # strict: raises if there was a warning
    return folder


@pytest.fixture(scope="module")
def places(site: Path) -> dict[Path, _Places]:
    return {page: _Places(page) for page in site.rglob("*.html")}


def test_warnings_are_errors():
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"))
    assert config.strict
    levels = [*config.validation.nav.values(), *config.validation.links.values()]
    assert levels.count(logging.WARNING) == len(levels) - levels.count(None)


def test_every_page_of_the_documentation_is_there(site):
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix(".html")
        if place.name == "README.html":
            place = place.with_name("index.html")
        assert (site / place).is_file(), place


def test_links_and_anchors_inside_the_site_are_there(site, places):
    checked = 0
    for page, found in places.items():
        if page.name == "404.html":
            continue  # its links start at the root of wherever it is served
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == ".":
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{page.relative_to(site)}: {link}"
            anchor = unquote(parts.fragment)
            if anchor and not anchor.startswith("__") and target in places:
                assert anchor in places[target].anchors, f"{page.relative_to(site)}: {link}"
            checked += 1
    assert checked > 1000


def test_results_and_notes_are_part_of_the_site(site):
    results = ROOT / "benchmarks" / "results"
    for file in results.rglob("*"):
        suffix = ".html" if file.suffix == ".md" else file.suffix
        place = site / "project" / file.relative_to(ROOT).with_suffix(suffix)
        assert file.is_dir() or place.is_file(), place
    assert "What was tried" in (site / "project" / "benchmarks" / "NOTES.html").read_text()


def test_the_public_names_are_in_the_reference(places):
    (page,) = [page for page in places if page.parts[-2:] == ("api", "rss_env.html")]
    for name in rss_env.__all__:
        assert any(re.fullmatch(rf"rss_env\.(\w+\.)*{name}", a) for a in places[page].anchors), name


def test_nothing_is_fetched_from_elsewhere(site):
    """Pages load no font, script or style of another host."""
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert not [url for url in loaded if "squidfunk.github.io" not in url], page


def _hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_in_code_are_left_alone():
    text = "[a](b.md)\n```python\nx[0](b.md)\n```\n[c](d.md#e) [f](https://g.h/i.md)\n"
    changed = _hooks().map_links(text, lambda link: f"../{link}")
    assert changed == (
        "[a](../b.md)\n```python\nx[0](b.md)\n```\n[c](../d.md#e) [f](https://g.h/i.md)\n"
    )


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("docs/faq.md", "faq.md"),
        ("docs/images/pair.png", "images/pair.png"),
        ("benchmarks/NOTES.md", "project/benchmarks/NOTES.md"),
        ("agents/rss_agents/algorithms/rss.py", "project/agents/rss_agents/algorithms/rss.py.md"),
        ("docs/figures", "project/docs/figures/index.md"),
    ],
)
def test_files_of_the_repository_have_a_place_in_the_site(path, place):
    hooks = _hooks()
    assert hooks.site_path(path) == place
    assert hooks.repository_path(place) == path
