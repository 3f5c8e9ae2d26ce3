"""Data sets of Minari that are whole or absent: written beside their place, and moved there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rss_agents.folder_lock import locked_folder
from rss_agents.outputs import check_folder
from rss_env.datasets.paths import is_folder
from rss_env.errors import InputError

if TYPE_CHECKING:  # an optional package
    from gymnasium import spaces
    from gymnasium.envs.registration import EnvSpec
    from minari.data_collector import EpisodeBuffer

_DATA, _OLD = "data", "replaced"  # where Minari looks for a data set, and what is about to go
_OVERHEAD = 31_000  # bytes that an episode takes in HDF5 beside its arrays


def place_of(name: str) -> Path:
    """The folder that Minari keeps a data set of this id in.

    Raises:
        InputError: If it is no id, or there can be no such folder.
    """
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage import get_dataset_path

    try:
        parse_dataset_id(name)
    except (ValueError, TypeError):  # of an id without a version
        raise InputError(
            f"name must be an id of Minari, (namespace/)name-v(version), as in shapes/uniform-v0, "
            f"got {name!r:.200}"
        ) from None
    try:
        place = get_dataset_path(name)
    except OSError as error:
        raise InputError(
            f"Minari's folder {error.filename} cannot be made ({error.strerror}); "
            "MINARI_DATASETS_PATH can name another"
        ) from None
    check_folder(place)
    return place


def check_room(place: Path, episode_bytes: int, episodes: int) -> int:
    """Bytes that a data set will take, about.

    Args:
        place: Where it is to be.
        episode_bytes: Of the arrays of an episode.
        episodes: How many.

    Raises:
        InputError: If the disk has less room.
    """
    size = episodes * (episode_bytes + _OVERHEAD)
    there = next(folder for folder in place.parents if is_folder(folder))
    free = shutil.disk_usage(there).free
    if size > free:
        raise InputError(
            f"{episodes:,} episodes take about {size / 1e9:,.1f} GB, and {there} has "
            f"{free / 1e9:,.1f} GB left; record fewer, or smaller images"
        )
    return size


@contextmanager
def replacing(place: Path, name: str, *, overwrite: bool) -> Iterator[Path]:
    """Give a path to write a data set at, which takes its place when the block has ended well.

    One process at a time writes a data set of a name. What was there stays until then.

    Args:
        place: The folder of the data set.
        name: Its id, for messages.
        overwrite: Whether it may take the place of one that `rss-data record` wrote.

    Raises:
        InputError: If there is something that may not be replaced, or somebody else writes it.
    """
    work = place.with_name(f".{place.name}.tmp")
    with locked_folder(work):
        new, old = work / _DATA, work / _OLD
        if old.exists() and not (place / _DATA).exists():  # ended between the two moves below
            place.mkdir(exist_ok=True)
            old.rename(place / _DATA)
        _refuse_to_replace(place, name, overwrite=overwrite)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield new
            for file in new.iterdir():
                with file.open("rb+") as written:
                    os.fsync(written.fileno())
            _make_namespace(name)
            place.mkdir(exist_ok=True)
            if (place / _DATA).exists():
                (place / _DATA).rename(old)
            new.rename(place / _DATA)
        finally:
            for left in (new, old):
                shutil.rmtree(left, ignore_errors=True)


def write_dataset(
    folder: Path,
    metadata: dict[str, Any],
    spec: EnvSpec,
    spaces_of: tuple[spaces.Space[Any], spaces.Space[Any]],
    episodes: Iterable[EpisodeBuffer],
) -> None:
    """Write a data set of Minari, with its images as they are.

    Args:
        folder: Where to; its parent is there.
        metadata: What it says of itself beside what Minari adds.
        spec: Of the environment.
        spaces_of: Of observations and of actions.
        episodes: They are written one by one as they come.

    Raises:
        OSError: If it cannot be written.
    """
    import minari
    from minari.dataset.minari_storage import MinariStorage

    observations, actions = spaces_of
    storage = MinariStorage.new(
        folder, observations, actions, spec, data_format="hdf5", jpeg_encoding=False
    )
    storage.update_metadata({"minari_version": minari.__version__, **metadata})
    storage.update_episodes(episodes)


def _refuse_to_replace(place: Path, name: str, *, overwrite: bool) -> None:
    from minari.dataset.minari_storage import MinariStorage

    from rss_env.interaction_format import METADATA_KEY

    if not os.path.lexists(place):
        return
    try:
        own = METADATA_KEY in MinariStorage.read_raw_metadata(place / _DATA)
    except (OSError, ValueError, TypeError):
        own = False
    if place.is_symlink() or not own:
        raise InputError(
            f"{place} is there already, and rss-data record did not write it: it is never "
            "replaced; choose another name, or move it away"
        )
    if not overwrite:
        raise InputError(
            f"there is a data set {name} already, in {place}; give --overwrite to replace it, or "
            "choose another name or version"
        )


def _make_namespace(name: str) -> None:
    """Make the namespace of a data set known to Minari, as Minari does when it writes one."""
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import create_namespace, list_local_namespaces

    namespace = parse_dataset_id(name)[0]
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)
