"""What is in a data set of interaction: Minari's format, and what this package keeps in it.

An episode is a step. Its `infos` have two rows each, as Minari has them: of the reset, where no map
is known yet (NaN), and of the step.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rss_env.action_maps import ActionMapGeometry
from rss_env.errors import DatasetError, InputError

if TYPE_CHECKING:  # an optional package
    from minari.data_collector import EpisodeBuffer

METADATA_KEY = "rss_env"  # of what `Recording` says, among the metadata of the data set
INDEX, LOG_PROPENSITY = "image_index", "log_propensity"
OF_SCALES, OF_CELLS = "scale_log_propensities", "cell_log_propensities"


def require_minari() -> None:
    """Make sure that Minari and what it writes files with are there.

    Raises:
        InputError: If they are not.
    """
    try:
        for package in ("minari", "h5py"):
            importlib.import_module(package)
    except ImportError:
        raise InputError(
            "data sets of interaction are written and read by Minari; get it with: "
            "pip install 'rss-env[minari]'"
        ) from None


@dataclass(frozen=True)
class Recording:
    """How a data set was recorded, as its metadata say.

    Attributes:
        environment: The environment's id.
        arguments: Of the environment, JSON-able.
        policy: Who drew the maps.
        seed: Of the first episode; each has the next.
        content_digest: Of the images and of all that judged the maps.
    """

    environment: str
    arguments: dict[str, Any]
    policy: dict[str, Any]
    seed: int
    content_digest: str

    @classmethod
    def of(cls, metadata: Mapping[str, Any], name: str) -> Recording:
        """What the metadata of a data set say; `name` is for messages.

        Raises:
            DatasetError: If `rss-data record` did not write them.
        """
        said: Any = metadata.get(METADATA_KEY)
        types = {"environment": str, "arguments": dict, "policy": dict}
        types |= {"seed": int, "content_digest": str}
        is_ours = isinstance(said, dict) and said.keys() == types.keys()
        # Without its spaces, Minari would make the environment that the file names: it may be any.
        if not is_ours or not {"observation_space", "action_space"} <= metadata.keys():
            raise DatasetError(f"{name} is no data set that rss-data record wrote")
        for key, kind in types.items():
            if not isinstance(said[key], kind):
                raise DatasetError(f"{name} is damaged: its {key} is {said[key]!r:.100}")
        return cls(**said)


def sums_of_scales(
    cells: npt.NDArray[np.float64], geometry: ActionMapGeometry
) -> npt.NDArray[np.float64]:
    """Sums (..., S) over the cells of each scale, of flat values (..., cells)."""
    return np.stack([part.sum(-1) for part in geometry.split(cells)], -1)


def as_episode(
    seed: int,
    image: npt.NDArray[np.uint8],
    action: npt.NDArray[np.uint8],
    reward: float,
    infos: Mapping[str, Any],
    cell_log_propensities: npt.NDArray[np.float64],
    geometry: ActionMapGeometry,
) -> EpisodeBuffer:
    """An episode as Minari writes it.

    Args:
        seed: Of the reset.
        image: (H, W, 3).
        action: (cells,), flat.
        reward: The score.
        infos: What the environment told of the step, with the `image_index`.
        cell_log_propensities: (cells,) of the classes drawn.
        geometry: Of the maps.
    """
    from minari.data_collector import EpisodeBuffer

    by_scale = sums_of_scales(cell_log_propensities, geometry)
    told = {name: np.asarray(value) for name, value in infos.items()}
    told |= {LOG_PROPENSITY: by_scale.sum(), OF_SCALES: by_scale}
    told |= {OF_CELLS: cell_log_propensities.astype(np.float32)}
    at_reset = {name: np.full_like(value, np.nan) for name, value in told.items() if name != INDEX}
    at_reset[INDEX] = told[INDEX]
    return EpisodeBuffer(
        seed=seed,
        observations=np.stack([image, image]),  # pyright: ignore[reportArgumentType]
        actions=action[None],  # pyright: ignore[reportArgumentType]
        rewards=[reward],
        terminations=[True],
        truncations=[False],
        infos={name: np.stack([at_reset[name], value]) for name, value in told.items()},
    )
