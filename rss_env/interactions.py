"""Data sets of interaction, read back: images, maps, their scores and their propensities.

`rss-data record` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from rss_env.datasets import arguments_of
from rss_env.errors import DatasetError, InputError, check_choice
from rss_env.interaction_format import (
    INDEX,
    LOG_PROPENSITY,
    OF_CELLS,
    OF_SCALES,
    Recording,
    require_minari,
)
from rss_env.registration import DATASET_NAMES, LEVEL_NAMES, parse_environment_id
from rss_env.single_env import RSSEnv

if TYPE_CHECKING:  # an optional package
    from minari import MinariDataset

_MOST_NAMED = 10  # data sets, in a message


@dataclass(frozen=True)
class Interactions:
    """N recorded episodes.

    Attributes:
        environment: The environment that they are from: its images, `images_of`, are those that
            were recorded.
        arguments: Of `environment`, for others like it.
        recording: How they were recorded.
        seeds: (N,) int64. `environment.reset(seed=...)` shows an episode's image again.
        image_index: (N,) int64, numbers of the images in the data set.
        actions: (N, cells) uint8, flat.
        scores: (N,) float64, the rewards.
        infos: What else the environment told of each map: `scale_scores` (N, S) float32, or
            `pixel_rewards` (N, cells) float32.
        log_propensities: (N,) float64, log-probability of the whole map.
        scale_log_propensities: (N, S) float64, of its part at each scale.
        cell_log_propensities: (N, cells) float32, of each cell's class.
    """

    environment: RSSEnv
    arguments: dict[str, Any]
    recording: Recording
    seeds: npt.NDArray[np.int64]
    image_index: npt.NDArray[np.int64]
    actions: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float64]
    infos: dict[str, npt.NDArray[np.float32]]
    log_propensities: npt.NDArray[np.float64]
    scale_log_propensities: npt.NDArray[np.float64]
    cell_log_propensities: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


def load_interactions(dataset: str | MinariDataset, **own: Any) -> Interactions:
    """Read a data set that `rss-data record` wrote.

    Args:
        dataset: Minari's id, or a data set that is loaded (or a part of one: `split_dataset`,
            `filter_episodes`).
        **own: Where the data lie by now (`root`, `images`, ...), in place of what was recorded.
            A `scorer` or a `dataset` of one's own is code: it has to be given, as nothing is run on
            a file's word.

    Raises:
        InputError: If Minari is missing, an argument is none of these, or code is not given.
        DatasetError: If there is no such data set, it is damaged, or the environment's data are
            others than those that were recorded.
    """
    require_minari()
    name = dataset if isinstance(dataset, str) else dataset.id
    with _damage_named(name):
        loaded, recording = _loaded(dataset, name)
    environment, arguments = _environment_of(recording, name, own)
    with _damage_named(name):
        rows = _rows(loaded, environment)
    _check_rows(rows, environment, name)
    told = {key: rows.pop(key) for key in environment.info_shapes}
    return Interactions(environment, arguments, recording, infos=told, **rows)


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Tell in one line whatever Minari and HDF5 raise at a file that is not what was written."""
    try:
        yield
    except InputError:
        raise
    except (OSError, LookupError, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise DatasetError(f"{name} is damaged: {str(error)[:200]}") from None


def _loaded(dataset: str | MinariDataset, name: str) -> tuple[MinariDataset, Recording]:
    from minari import MinariDataset, list_local_datasets
    from minari.dataset.minari_storage import MinariStorage
    from minari.storage import get_dataset_path

    if not isinstance(dataset, str):
        return dataset, Recording.of(dataset.storage.metadata, name)
    path = get_dataset_path(dataset) / "data"
    try:
        metadata = MinariStorage.read_raw_metadata(path)
    except ValueError:  # of JSON that is none, too
        if path.exists():
            raise DatasetError(f"{name} is damaged: its metadata cannot be read") from None
        known = ", ".join(list(list_local_datasets())[:_MOST_NAMED]) or "none"
        raise DatasetError(
            f"no data set {name!r} of Minari in {get_dataset_path()}; there: {known}"
        ) from None
    recording = Recording.of(metadata, name)
    return MinariDataset(path), recording


def _environment_of(
    recording: Recording, name: str, own: Mapping[str, Any]
) -> tuple[RSSEnv, dict[str, Any]]:
    """The environment of a recording, and its arguments.

    Raises:
        InputError: If an argument is unknown, or code is not given.
        DatasetError: If its data are others.
    """
    data, level = parse_environment_id(recording.environment)
    check_choice("level", level, LEVEL_NAMES)
    codes = {} if data in DATASET_NAMES else {"dataset": data}
    codes |= {key: recording.arguments[key] for key in ("scorer",) if key in recording.arguments}
    for key, code in codes.items():
        if key not in own:
            raise InputError(
                f"{name} was recorded with {key} {code!r:.200}, which is code and is not run on a "
                f"file's word; give the same: {key}=..."
            )
    data = own.get("dataset", data)
    valid = dict.fromkeys(["scorer", "dataset", "exclude", *arguments_of(data)])
    for key in own:
        check_choice("argument of load_interactions", key, valid)
    arguments = {**recording.arguments, **own, "dataset": data, "level": level}
    environment = RSSEnv(**arguments)
    if environment.content_digest() != recording.content_digest:
        raise DatasetError(
            f"{name} was recorded with other data than there are now: images, labels or label "
            "counts differ; give those of the time, as with root=... or images=..."
        )
    return environment, arguments


def _rows(loaded: MinariDataset, environment: RSSEnv) -> dict[str, Any]:
    """The fields of `Interactions` that are read, by name, and those of its infos."""
    numbers = loaded.episode_indices
    seeds = [found["seed"] for found in loaded.storage.get_episode_metadata(numbers)]
    played = tqdm(loaded.iterate_episodes(), "reading", len(numbers), unit="map", disable=None)
    episodes = [
        (e.actions[-1], e.rewards[-1], {key: value[-1] for key, value in (e.infos or {}).items()})
        for e in played
    ]
    if not episodes:
        raise IndexError("it has no episode")
    geometry = environment.geometry

    def of_infos(name: str, dtype: Any, shape: Iterable[int] = ()) -> npt.NDArray[Any]:
        rows = np.stack([infos[name] for _, _, infos in episodes]).astype(dtype, copy=False)
        return rows.reshape(len(episodes), *shape)

    return {
        "seeds": np.array(seeds, np.int64),
        "image_index": of_infos(INDEX, np.int64),
        "actions": np.stack([action for action, _, _ in episodes]).astype(np.uint8, copy=False),
        "scores": np.array([reward for _, reward, _ in episodes], np.float64),
        "log_propensities": of_infos(LOG_PROPENSITY, np.float64),
        "scale_log_propensities": of_infos(OF_SCALES, np.float64, (len(geometry.scales),)),
        "cell_log_propensities": of_infos(OF_CELLS, np.float32, (geometry.num_cells,)),
        **{key: of_infos(key, np.float32, s) for key, s in environment.info_shapes.items()},
    }


def _check_rows(rows: Mapping[str, Any], environment: RSSEnv, name: str) -> None:
    """Refuse numbers that no recording has.

    Raises:
        DatasetError: Naming the first.
    """
    geometry, actions, index = environment.geometry, rows["actions"], rows[INDEX]
    faults = {
        "image_index": ((index < 0) | (index >= environment.num_images)).any(),
        "shape of actions": actions.shape[1:] != (geometry.num_cells,),
        "actions": (actions >= geometry.num_classes).any(),
        "scores": not np.isfinite(rows["scores"]).all(),
        "propensities": not (rows[OF_CELLS] <= 0).all() or not (rows[OF_SCALES] <= 0).all(),
    }
    for what, is_wrong in faults.items():
        if is_wrong:
            raise DatasetError(f"{name} is damaged: no recording has such {what}")
