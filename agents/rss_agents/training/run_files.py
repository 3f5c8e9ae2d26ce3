"""Names of the files of a run, and what may lie in a folder that a run is started in."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from rss_agents.algorithms.sb3_config import SB3_FILE
from rss_agents.networks.names import BEST_NAME, FILE_NAME
from rss_agents.outputs import check_folder, refuse_links
from rss_agents.ratings.names import FOLDER_NAME as RATINGS_FOLDER
from rss_env.errors import InputError
from rss_env.regular_files import open_regular

CONFIG_NAME, RESULT_NAME = "config.json", "result.json"
PROGRESS_NAME, VALIDATION_NAME = "progress.json", "validation.json"
METRICS_NAME, OVERLAY_NAME, CURVE_NAME = "metrics.jsonl", "overlay.png", "curve.png"
FILM_NAMES = ("film.gif", "film.png")
REPRODUCTION = "not-finite.safetensors"
BOARD_FOLDER, STATES_FOLDER = "tensorboard", "states"
# Everything that a run writes or removes, but for ratings, which are only ever added to.
_WRITTEN = (
    *(RESULT_NAME, PROGRESS_NAME, VALIDATION_NAME, METRICS_NAME, OVERLAY_NAME, CURVE_NAME),
    *(*FILM_NAMES, FILE_NAME, BEST_NAME, SB3_FILE, REPRODUCTION, BOARD_FOLDER, STATES_FOLDER),
)
LONGEST_CONFIG = 2**20  # bytes of a config.json


class ForeignWriteError(RuntimeError):
    """Something else has written to the folder of a run while the run did."""

    def __init__(self, path: Path):
        """Name the file that is not as the run has written it."""
        super().__init__(f"something else has changed or removed {path} while this run wrote it")


def is_still(path: Path, digest: bytes) -> bool:
    """Tell whether a file, and no link, has the content of a SHA-256."""
    try:
        with open_regular(path) as file:
            return hashlib.sha256(file.read()).digest() == digest
    except OSError:
        return False


def check_run_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that a run can be started in a folder without a loss.

    Args:
        folder: Of the run; it need not be there.
        overwrite: Whether a run that lies in it may be replaced.

    Raises:
        InputError: If it holds a run and may not be overwritten, or files that a run would replace
            and that are of no run.
    """
    check_folder(folder)
    config = folder / CONFIG_NAME
    if os.path.lexists(config):
        if not is_of_a_run(config):
            raise InputError(
                f"{config} is there already, and rss-train did not write it: it is never replaced; "
                "choose another --out"
            )
        if not overwrite:
            raise InputError(
                f"{folder} already holds a run; choose another --out, or --overwrite, or --resume"
            )
        refuse_links_in_run(folder)
        return
    for name in _WRITTEN:
        path = folder / name
        if os.path.lexists(path):
            raise InputError(
                f"{path} is there already and of no run ({folder} has no {CONFIG_NAME}): it is "
                "never replaced; choose another --out"
            )


def run_above(path: Path) -> Path | None:
    """The folder of the run that a path lies in; None if it lies in none."""
    places = path.resolve().parents
    return next((place for place in places if is_of_a_run(place / CONFIG_NAME)), None)


def refuse_links_in_run(folder: Path) -> None:
    """Refuse links in the folder of a run that is written to, and in the folders in it.

    Raises:
        InputError: If a file or a folder that a run writes is a link.
    """
    refuse_links(folder, _places(folder))


def _places(folder: Path) -> Iterator[str | Path]:
    """All that a run writes; each folder before what lies in it."""
    yield from (CONFIG_NAME, *_WRITTEN, RATINGS_FOLDER)
    for name in (BOARD_FOLDER, STATES_FOLDER, RATINGS_FOLDER):
        yield from (path.relative_to(folder) for path in (folder / name).rglob("*"))


def is_of_a_run(path: Path) -> bool:
    """Tell whether a file, and no link, holds the options of a run, of whatever version."""
    try:
        with open_regular(path) as file:
            found = json.loads(file.read(LONGEST_CONFIG))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"algo", "updates", "out"} <= found.keys()
