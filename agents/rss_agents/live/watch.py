"""A page about runs, while they train and after: `rss-watch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from rss_agents.command_line import run_command
from rss_agents.live.serving import PageConfig, serve
from rss_env.datasets.paths import is_folder
from rss_env.errors import InputError


@dataclass
class WatchConfig:
    """Serve a page about runs: curves, pictures, classes, scores, and maps to be rated."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders that rss-train wrote, or folders of such folders."""
    page: tyro.conf.OmitArgPrefixes[PageConfig] = field(default_factory=PageConfig)


def watch(config: WatchConfig) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        InputError: If a folder is not there, the page cannot be served, or NiceGUI is missing.
    """
    from rss_agents.live.page import build_page, folders_of_ratings

    folders = config.folders
    for folder in folders:
        if not is_folder(folder):
            raise InputError(f"there is no folder {folder}")
    if folders_of_ratings(folders):
        import rss_agents.ratings.store  # noqa: F401 (PyTorch: the first visitor need not wait)
    serve(config.page, "rss-watch", lambda: build_page(folders, folders_of_ratings(folders)))


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `rss-watch`."""
    run_command("rss-watch", WatchConfig, watch, arguments)


if __name__ == "__main__":
    main()
