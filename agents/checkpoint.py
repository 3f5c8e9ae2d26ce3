"""Checkpoints: one safetensors file that describes its own network.

The file is written beside its final name and renamed into place: a checkpoint is whole or absent.
Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agents.policies import SegmentationNetwork, build_network
from rss_env.errors import InputError

FILE_NAME = "model.safetensors"


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

    @property
    def palette_array(self) -> npt.NDArray[np.uint8]:
        """(C, 3) uint8."""
        return np.array(self.palette, np.uint8)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by new text in one move."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_weights(
    path: Path, weights: Mapping[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    """Write a safetensors file in one move."""
    on_cpu = {name: value.contiguous().cpu() for name, value in weights.items()}
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(on_cpu, temporary, metadata)
    os.replace(temporary, path)


def save_checkpoint(
    folder: Path, network: SegmentationNetwork, description: NetworkDescription
) -> None:
    """Write `folder/model.safetensors` in one move."""
    metadata = {"description": json.dumps(asdict(description))}
    write_weights(folder / FILE_NAME, network.state_dict(), metadata)


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
    path = folder / FILE_NAME if folder.is_dir() else folder
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}; expected a folder that rss-train wrote")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            raw = json.loads((file.metadata() or {})["description"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = NetworkDescription(
            raw["network"],
            (int(raw["image_size"][0]), int(raw["image_size"][1])),
            tuple(raw["class_names"]),
            tuple(tuple(colour) for colour in raw["palette"]),
        )
        network = build_network(
            description.network,
            len(description.class_names),
            description.image_size,
            device=device,
        )
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is not a checkpoint of rss-train: {str(error)[:300]}") from None
    return network.eval(), description
