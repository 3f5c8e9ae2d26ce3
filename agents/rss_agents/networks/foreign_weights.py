"""Weights that other programs saved, for a network of ours to start from.

State dicts of segmentation-models-pytorch, timm, torchvision and Lightning: tensors are found by
the names that a network's own have, behind whatever the other program put before them.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from rss_env.errors import InputError

Weights = dict[str, torch.Tensor]
_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".tar")
_SAFE_SINCE = (2, 6)  # before, what reads weights alone could be made to run code
_INSIDE = ("state_dict", "model_state_dict", "model_state", "model", "weights", "ema", "teacher")
_PARTS = ("", "encoder.", "encoder.model.", "backbone.")  # of a network, that were saved alone
_COUNTERS = "num_batches_tracked"  # which old programs do not save
_UNREADABLE = (SafetensorError, OSError, RuntimeError, ValueError, EOFError, pickle.PickleError)


def is_foreign(path: Path) -> bool:
    """Tell whether a file is one of weights without a description of ours; only its head is read.

    What cannot be read is not told from our own: it is read, and refused, as such.
    """
    if path.suffix in _PICKLES:
        return True
    try:
        with safe_open(path, framework="pt") as file:
            return "description" not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def read_foreign(path: Path) -> Weights:
    """The tensors of a file, by the names that they were saved with.

    Args:
        path: A `.safetensors` file; or one of `torch.save`, of which tensors and plain containers
            alone are read, so that no code of it runs.

    Raises:
        InputError: If it cannot be read so, or holds no tensors.
    """
    try:
        if path.suffix in _PICKLES:
            return _tensors_in(_unpickled(path), path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
    except InputError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} holds no weights that can be read: {reason}") from None


def _unpickled(path: Path) -> Any:
    version = tuple(map(int, torch.__version__.split(".")[:2]))
    if version < _SAFE_SINCE:
        raise InputError(
            f"{path} is a pickle, which torch {torch.__version__} may run code of; valid: torch "
            "2.6 and later, or the same weights as a .safetensors file"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors_in(content: Any, path: Path) -> Weights:
    """The largest state dict in what a program saved, as it is or beside its optimiser."""
    inside = [content, *(content.get(name) for name in _INSIDE if isinstance(content, dict))]
    found = [_tensors_of(part) for part in inside if isinstance(part, Mapping)]
    largest = max(found, key=len, default={})
    if not largest:
        raise InputError(
            f"{path} holds no state dict; valid: one of tensors by their names, as it is or under "
            f"one of {', '.join(_INSIDE)}"
        )
    return largest


def _tensors_of(part: Mapping[Any, Any]) -> Weights:
    return {n: v for n, v in part.items() if isinstance(n, str) and isinstance(v, torch.Tensor)}


def matching(body: nn.Module, weights: Weights) -> Weights:
    """Weights for a network's tensors, by their own names: the most that one reading gives.

    Args:
        body: The network.
        weights: Those that were saved, of the whole network or of its encoder, by the same names
            behind any prefix (`module.`, `model.encoder.`).

    Returns:
        Those of the same name and shape.
    """
    own = body.state_dict()
    best: Weights = {}
    for saved in _prefixes(weights):
        stripped = {n[len(saved) :]: v for n, v in weights.items() if n.startswith(saved)}
        for part in _PARTS:
            named = {part + name: value for name, value in stripped.items()}
            fits = {n: v for n, v in named.items() if n in own and own[n].shape == v.shape}
            best = max(best, fits, key=len)
    return best


def _prefixes(names: Mapping[str, Any]) -> list[str]:
    """What names may have before what a network calls its tensors; the empty one first."""
    found = {"": None}
    for name in names:
        found |= dict.fromkeys(accumulate(f"{part}." for part in name.split(".")[:-1]))
    return [prefix for prefix in found if prefix.count(".") < 4]  # the fifth part is a layer's


def missing(body: nn.Module, taken: Weights) -> tuple[str, ...]:
    """Names of a network's tensors that are not among those taken, counters aside."""
    own = body.state_dict()
    return tuple(n for n in own if n not in taken and not n.endswith(_COUNTERS))


def check_is_enough(path: Path, network: str, body: nn.Module, taken: Weights) -> None:
    """Check that an encoder's weights, or most of a network's, were found.

    Raises:
        InputError: If they were not.
    """
    lacks = missing(body, taken)
    own = body.state_dict()
    encoder = [name for name in own if name.startswith(("encoder.", "backbone."))]
    has_encoder = bool(encoder) and not set(encoder) & set(lacks)
    if not has_encoder and 2 * len(taken) < len(own):
        raise InputError(
            f"cannot start from {path}: {len(taken)} of the {len(own)} tensors of {network!r:.300} "
            f"are found in it by name and shape, not for instance {', '.join(lacks[:3])}; valid: "
            "weights of that network, or of all of its encoder"
        )
