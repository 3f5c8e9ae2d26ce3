"""Checkpoints: one safetensors file that describes its own network.

A checkpoint is whole or absent, and nothing of it is ever unpickled.
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
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from torch import nn

from rss_agents.files import DamagedError, read_tensors, write_tensors
from rss_agents.networks.build import build_network
from rss_agents.networks.foreign_weights import (
    check_is_enough,
    is_foreign,
    matching,
    missing,
    read_foreign,
)
from rss_agents.networks.names import FILE_NAME
from rss_agents.networks.own_network import check_own_network, is_object
from rss_agents.networks.segmentation_network import SegmentationNetwork
from rss_env.datasets.paths import expanded, is_file, is_folder
from rss_env.datasets.resizing import Resize
from rss_env.errors import InputError
from rss_env.labels import MAX_CLASSES

# What reading a file that is none raises; `InputError` is a `ValueError`.
_NO_CHECKPOINT = (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError)


@dataclass(frozen=True)
class NetworkDescription:
    """Facts that it takes to build a network again and to read its output.

    Attributes:
        network: Name for `build_network`.
        image_size: (H, W) it was trained at.
        class_names: C names.
        palette: C colours, RGB 0..255.
        resize: How images of other sizes are brought to it.
    """

    network: str
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    resize: Resize = "stretch"

    @classmethod
    def of(
        cls,
        network: str,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        palette: npt.NDArray[np.uint8],
        resize: Resize = "stretch",
    ) -> NetworkDescription:
        """Describe a network for a data set's classes and palette (C, 3)."""
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette)
        return cls(network, image_size, tuple(class_names), colours, resize)

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
    folder: str | os.PathLike[str],
    network: SegmentationNetwork,
    description: NetworkDescription,
    name: str = FILE_NAME,
) -> None:
    """Write a network's weights and description into a folder, in one move.

    Raises:
        OSError: If it cannot be written.
    """
    metadata = {"description": json.dumps(asdict(description))}
    write_tensors(Path(folder) / name, network.state_dict(), metadata)


def _file_of(folder: str | os.PathLike[str]) -> Path:
    """The checkpoint of a run's folder, or the file itself."""
    given = expanded(folder)
    path = given / FILE_NAME if is_folder(given) else given
    if not is_file(path):
        raise InputError(f"no checkpoint at {path}; expected a folder that rss-train wrote")
    return path


def _not_ours(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:300]
    return InputError(f"{path} is not a checkpoint of rss-train: {reason}")


def read_checkpoint(
    folder: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[NetworkDescription, dict[str, torch.Tensor]]:
    """The description of a checkpoint's network, and the weights; nothing is built yet.

    Args:
        folder: The training run's folder, or the checkpoint file itself.
        device: Where the weights shall live.

    Raises:
        InputError: If there is no checkpoint, it is damaged, or it is not one of ours.
    """
    path = _file_of(folder)
    try:
        weights, metadata = read_tensors(path)
        description = NetworkDescription.read(metadata["description"])
        return description, {name: value.to(device) for name, value in weights.items()}
    except DamagedError:
        raise
    except _NO_CHECKPOINT as error:
        raise _not_ours(path, error) from None


def load_checkpoint(
    folder: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    own_network: str | nn.Module | None = None,
) -> tuple[SegmentationNetwork, NetworkDescription]:
    """Rebuild a trained network, in evaluation mode.

    Args:
        folder: The training run's folder, or the checkpoint file itself.
        device: Where the network shall live.
        own_network: `module:function` that built it, if it is the caller's own; or a module of the
            same layers, which gets the weights. A file alone is not believed: what it names would
            be run.

    Raises:
        InputError: If there is no checkpoint, it is damaged or not one of ours, or if it is of
            another network than `own_network`.
    """
    path = _file_of(folder)
    description, weights = read_checkpoint(path, device)
    name, body = description.network, None
    if isinstance(own_network, nn.Module):
        body = own_network
    else:
        check_own_network(own_network, name, path)
    if is_object(name) and isinstance(own_network, str):
        name = own_network.partition("@")[0] + name[len(name.partition("@")[0]) :]  # its stride
    try:
        num_classes, size = len(description.class_names), description.image_size
        network = build_network(name, num_classes, size, device=device, body=body)
        network.load_state_dict(weights)
    except _NO_CHECKPOINT as error:
        if own_network is not None and isinstance(error, InputError):
            raise  # of the caller's code, not of the file
        if body is not None:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{path} does not fit the module that was passed: {reason}") from None
        raise _not_ours(path, error) from None
    return network.eval(), description


def is_whole_start(
    folder: str | os.PathLike[str],
    network: str,
    image_size: tuple[int, int],
    class_names: Sequence[str],
    body: nn.Module | None = None,
) -> bool:
    """Tell whether a network that starts from a trained one gets all of its weights.

    Args:
        folder: See `start_from`.
        network: Name of the network.
        image_size: (H, W) of its images.
        class_names: Of its C classes; weights of another program are of as many, by their shapes.
        body: The module, if it is there already.

    Raises:
        InputError: If there is no checkpoint.
    """
    path = _file_of(folder)
    if not is_foreign(path):
        return _classes_of(path) == tuple(class_names)
    with torch.random.fork_rng():
        built = build_network(network, len(class_names), image_size, body=body).body
    return not missing(built, matching(built, read_foreign(path)))


def note_of_start(source: Path, class_names: Sequence[str], new: Sequence[str]) -> str | None:
    """What to say of a start whose weights are not all taken, or whose classes are not known.

    Args:
        source: Where the weights come from.
        class_names: Of the network that got them.
        new: Names of its tensors that start anew.
    """
    names = ", ".join(class_names)[:200]
    told = ", ".join(new[:4]) + (f" and {len(new) - 4} more" if len(new) > 4 else "")
    foreign = is_foreign(_file_of(source))
    if foreign and new:
        return f"{source} has weights of a part of the network; what starts anew: {told}"
    if foreign:
        return f"{source} does not name its classes: they are taken to be {names}, in this order"
    if new:
        return (
            f"{source} has other classes: its weights are kept but for those of the head, which "
            f"starts anew for {names} ({told})"
        )
    return None


def _classes_of(path: Path) -> tuple[str, ...]:
    """Names of the classes that a trained network tells apart; its weights are not read.

    Raises:
        InputError: If it is no checkpoint of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return NetworkDescription.read((file.metadata() or {})["description"]).class_names
    except _NO_CHECKPOINT as error:
        raise _not_ours(path, error) from None


def start_from(
    network: SegmentationNetwork,
    description: NetworkDescription,
    folder: str | os.PathLike[str],
) -> tuple[str, ...]:
    """Give a network the weights of a trained one; how that decided (`decide`) stays behind.

    If the classes are others, the head keeps the weights it has: whatever has another shape for
    another number of classes. Weights that another program saved may be an encoder's alone.

    Args:
        network: The network; written.
        description: Of the network. The image size need not be that of the checkpoint.
        folder: The training run's folder, or the checkpoint file itself; or a file of weights of
            another program, see `foreign_weights`.

    Returns:
        Names of the tensors that were not taken, of the network's `body`; none for equal classes.

    Raises:
        InputError: If there is no checkpoint, it is damaged, or it is of another network.
    """
    path = _file_of(folder)
    if is_foreign(path):
        taken = matching(network.body, read_foreign(path))
        check_is_enough(path, description.network, network.body, taken)
        network.body.load_state_dict(taken, strict=False)
        return missing(network.body, taken)
    found, weights = read_checkpoint(path)
    if found.network != description.network:
        raise InputError(
            f"cannot start from {path}: its network is {found.network!r:.300}, here it is "
            f"{description.network!r:.300}"
        )
    prefix = "body."
    body = {k[len(prefix) :]: value for k, value in weights.items() if k.startswith(prefix)}
    head: tuple[str, ...] = ()
    if found.class_names != description.class_names:
        own = network.body.state_dict()
        head = _head_of(own, description)
        body |= {name: own[name] for name in head}
    try:
        network.body.load_state_dict(body)
    except _NO_CHECKPOINT as error:
        raise _not_ours(path, error) from None
    return head


def _head_of(body: Mapping[str, torch.Tensor], description: NetworkDescription) -> tuple[str, ...]:
    """Names of the tensors whose shapes depend on the number of classes."""
    classes = len(description.class_names)
    others = classes + 1 if classes < MAX_CLASSES else classes - 1
    with torch.random.fork_rng():
        other = build_network(description.network, others, description.image_size).body.state_dict()
    head = tuple(name for name, value in body.items() if other[name].shape != value.shape)
    if not head:
        raise InputError(
            f"network {description.network!r:.300} has no weights that depend on the number of "
            "classes: it cannot start from a network of other classes"
        )
    return head
