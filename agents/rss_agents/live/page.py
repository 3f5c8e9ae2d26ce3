"""The page: what is asked of a person, if anything is, and below it the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rss_agents.live.run_reader import find_runs
from rss_agents.ratings.names import FOLDER_NAME
from rss_env.datasets.paths import is_folder


def folders_of_ratings(folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of ratings in some folders and in the runs below them, by what to call them.

    Links are none: what is answered would be written to where they lead.
    """
    places = {folder.resolve().name: folder for folder in folders} | find_runs(folders)
    found = {name: place / FOLDER_NAME for name, place in places.items()}
    own = {name: f for name, f in found.items() if is_folder(f) and not f.is_symlink()}
    by_folder = {folder.resolve(): name for name, folder in own.items()}
    return {name: folder for folder, name in by_folder.items()}


def build_page(folders: Sequence[Path], ratings: Mapping[str, Path]) -> None:
    """Lay out the page for a visitor; folders of questions and ratings come with their titles."""
    # The extra rss-env[live]; this module is imported without it as well.
    from nicegui import ui

    from rss_agents.live.run_panel import RunPanel

    with ui.column().classes("w-full max-w-6xl mx-auto gap-4"):
        for name, folder in ratings.items():
            from rss_agents.live.rating_panel import RatingPanel  # with PyTorch: seconds

            with ui.card().classes("w-full"):
                ui.label(f"Ratings for {name}").classes("text-xl")
                RatingPanel(folder)
        with ui.card().classes("w-full"):
            RunPanel(folders)
