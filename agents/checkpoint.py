"""Checkpoints: one safetensors file that describes its own network.

A checkpoint is whole or absent, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open

from agents.files import write_tensors
from agents.policies import SegmentationNetwork, build_network
from rss_env.datasets.paths import is_file, is_folder
from rss_env.errors import InputError

FILE_NAME, BEST_NAME = "model.safetensors", "best.safetensors"


@dataclass(frozen=True)
class NetworkDescription:
    """What it takes to build a network again and to read its output.

    Attributes:
        network: Name for `build_network`.
        image_size: (H, W) it was trained at.
        class_names: C names.
        palette: C colours, RGB 0..255.
    """

    network: str
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(
        cls,
        network: str,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        palette: npt.NDArray[np.uint8],
    ) -> NetworkDescription:
        """Describe a network for a data set's classes and palette (C, 3)."""
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette)
        return cls(network, image_size, tuple(class_names), colours)

    @classmethod
    def read(cls, text: str) -> NetworkDescription:
        """A description from its JSON; nothing is converted, only checked.

        Raises:
            ValueError: If it is none.
        """
        found = TypeAdapter(cls).validate_json(text, strict=True)
        if len(set(found.class_names)) != len(found.class_names):
            raise ValueError("class_names must be distinct")
        if len(found.palette) != len(found.class_names) or any(
            not 0 <= value < 256 for colour in found.palette for value in colour
        ):
            raise ValueError(f"palette must be {len(found.class_names)} RGB colours of 0..255")
        return found

    @property
    def palette_array(self) -> npt.NDArray[np.uint8]:
        """(C, 3) uint8."""
        return np.array(self.palette, np.uint8)


def save_checkpoint(
    folder: Path,
    network: SegmentationNetwork,
    description: NetworkDescription,
    name: str = FILE_NAME,
) -> None:
    """Write a network's weights and what it takes to read them, in one move.

    Args:
        folder: Where.
        network: What was trained.
        description: Of the network.
        name: Of the file.

    Raises:
        OSError: If it cannot be written.
    """
    metadata = {"description": json.dumps(asdict(description))}
    write_tensors(folder / name, network.state_dict(), metadata)


def _file_of(folder: Path) -> Path:
    """The checkpoint of a run's folder, or the file itself."""
    path = folder / FILE_NAME if is_folder(folder) else folder
    if not is_file(path):
        raise InputError(f"no checkpoint at {path}; expected a folder that rss-train wrote")
    return path


def load_checkpoint(
    folder: Path, device: torch.device | str = "cpu"
) -> tuple[SegmentationNetwork, NetworkDescription]:
    """Rebuild a trained network, in evaluation mode.

    Args:
        folder: The training run's folder, or the checkpoint file itself.
        device: Where the network shall live.

    Raises:
        InputError: If there is no checkpoint or it is not one of ours.
    """
    path = _file_of(folder)
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            raw = (file.metadata() or {})["description"]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = NetworkDescription.read(raw)
        network = build_network(
            description.network,
            len(description.class_names),
            description.image_size,
            device=device,
        )
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"{path} is not a checkpoint of rss-train: {str(error)[:300]}") from None
    return network.eval(), description
