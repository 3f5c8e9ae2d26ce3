"""Where caches may lie: with the user, or, where nobody has a home, in a temporary folder.

Containers often run as a user without a home, or with one that cannot be written to. Libraries then
fail, or make a folder named `~` where they happen to run.
"""

from __future__ import annotations

import functools
import os
import stat
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

# Variables that say where libraries keep what they compile, draw with or download.
_VARIABLES = {
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "HF_HOME": "huggingface",
}
_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp")  # as `tempfile` knows them


def cache_place() -> Path | None:
    """The folder for caches of rss-env, whether it exists or not; None where there is none."""
    return _user_folder() or _temporary_folder()


def redirect_caches() -> None:
    """Name a temporary folder to other libraries as well, where the user has no folder for caches.

    Nothing changes where there is one, and no variable that is set already.
    """
    if _user_folder() is None and (folder := _temporary_folder()) is not None:
        for variable, name in _VARIABLES.items():
            os.environ.setdefault(variable, str(folder / name))


def _user_folder() -> Path | None:
    """The user's folder for caches; None without a home, or one that can be written to."""
    if not os.path.isabs(os.path.expanduser("~")):  # where libraries would look
        return None
    try:
        folder = user_cache_path("rss-env", appauthor=False)
    except RuntimeError:
        return None
    return folder if _can_be_written(folder) else None


def _can_be_written(folder: Path) -> bool:
    """Tell whether a folder can be made, if need be, and written to."""
    try:
        nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    except OSError:
        return False


@functools.cache
def _temporary_folder() -> Path | None:
    """This user's own folder among the temporary ones; None if none can be had.

    What lies in it is run: it must be nobody else's.
    """
    try:
        place = Path(tempfile.gettempdir())
        told = {os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")} | {*_TEMPORARY}
        if place == Path.cwd() and str(place) not in told:
            return None  # `tempfile`'s last resort, which is the user's own work
        if os.name != "posix":
            folder = place / "rss-env"
            folder.mkdir(exist_ok=True)
            return folder
        folder = place / f"rss-env-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:  # `tempfile` found no place, or it is full
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if is_own and not found.st_mode & 0o022 else None
