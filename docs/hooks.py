"""Makes one site of pages that are written for the repository as it lies on disk.

Pages link to files by their paths, so that they can be read without the site. Where a link leads
out of `docs/` - to results, examples, code - the file comes along: what pages link to is added
under `project/` (Markdown as a page, code as a page that shows it, folders as lists, anything else
as it is), with what those pages link to in turn. Links are then rewritten to where things are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = "project/"  # of the site: files from outside of docs/
OPTIONAL = ("reliability.md",)  # in the navigation where they are there

_FENCE = re.compile(r"(^```.*?^```[ ]*$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]+)(?=(?:#[^)\s]*)?\))")
_CODE = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".toml": "toml"}
_IMAGES = (".png", ".svg", ".gif", ".jpg")


def map_links(text: str, change: Callable[[str], str]) -> str:
    """Markdown with every link to a file changed; code blocks stay as they are."""
    parts = _FENCE.split(text)
    prose = [_LINK.sub(lambda match: change(match[1]), part) for part in parts[::2]]
    parts[::2] = prose
    return "".join(parts)


def repository_path(source: str) -> str:
    """The path, in the repository, of a page of the site or of the folder that it lists."""
    if not source.startswith(OUTSIDE):
        return f"docs/{source}"
    path = source.removeprefix(OUTSIDE).removesuffix("/index.md")
    return path if (ROOT / path).exists() else path.removesuffix(".md")


def _is_of_the_site(path: str) -> bool:
    """Whether a file comes into the site as it is: all of `docs/` but code and folders."""
    return path.startswith("docs/") and not path.endswith(".py") and not (ROOT / path).is_dir()


def site_path(path: str) -> str:
    """Where a file or folder of the repository is in the site."""
    if _is_of_the_site(path):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        return f"{OUTSIDE}{path}/index.md"
    return f"{OUTSIDE}{path}.md" if Path(path).suffix in _CODE else f"{OUTSIDE}{path}"


def _base(source: str) -> str:
    """What the links of a page are relative to, in the repository."""
    path = repository_path(source)
    return path if (ROOT / path).is_dir() else posixpath.dirname(path)


def _target(source: str, link: str) -> str | None:
    """The file or folder of the repository that a page's link leads to, if there is one."""
    path = posixpath.normpath(posixpath.join(_base(source), link))
    return None if path.startswith("..") or not (ROOT / path).exists() else path


def _listing(path: str) -> str:
    """A page that lists a folder, and shows the pictures in it."""
    names = sorted(
        entry.name + "/" * entry.is_dir()
        for entry in (ROOT / path).iterdir()
        if not entry.name.startswith((".", "__"))
    )
    lines = [f"- [{name}]({name.rstrip('/')})" for name in names]
    shown = [f"![{name}]({name})" for name in names if name.endswith(_IMAGES)]
    return "\n\n".join([f"# {path}", "\n".join(lines), *shown]) + "\n"


def page_text(path: str) -> str:
    """Markdown that shows a file or folder of the repository."""
    file = ROOT / path
    if file.is_dir():
        return _listing(path)
    text = file.read_text(encoding="utf-8")
    language = _CODE.get(file.suffix)
    return text if language is None else f"# {path}\n\n```{language}\n{text}```\n"


def outside_files(pages: dict[str, str]) -> set[str]:
    """Paths of all that pages (text by place in the site) link to outside of `docs/`, in turn."""
    found: set[str] = set()
    unread = dict(pages)

    def follow(source: str, link: str) -> str:
        path = _target(source, link)
        if path is not None and not _is_of_the_site(path) and path not in found:
            found.add(path)
            if site_path(path).endswith(".md"):
                unread[site_path(path)] = page_text(path)
        return link

    while unread:
        source, text = unread.popitem()
        map_links(text, lambda link, source=source: follow(source, link))
    return found


def on_config(config: MkDocsConfig) -> None:
    """Leave pages that need not be there out of the navigation while they are not."""
    absent = [name for name in OPTIONAL if not (ROOT / "docs" / name).exists()]

    def kept(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {title: kept(inner) for title, inner in entry.items()}
        if isinstance(entry, list):
            return [kept(inner) for inner in entry if inner not in absent]
        return entry

    config.nav = kept(config.nav)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside of `docs/`."""
    pages = {file.src_uri: file.content_string for file in files.documentation_pages()}
    for path in sorted(outside_files(pages)):
        place = site_path(path)
        if place.endswith(".md"):
            files.append(File.generated(config, place, content=page_text(path)))
        else:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where files are in the site."""
    source = page.file.src_uri

    def change(link: str) -> str:
        path = _target(source, link)
        if path is None:
            return link
        return posixpath.relpath(site_path(path), posixpath.dirname(source) or ".")

    return map_links(markdown, change)
