"""What a training needs to go on, in one file: a tree of tensors and plain values.

Tensors are kept as safetensors, everything else as JSON in the same file, with a digest of both;
nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from agents.files import write_tensors
from rss_env.errors import InputError

_KIND = "rss-train state 1"


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A JSON value for any value, with tensors moved to a dictionary."""
    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"mapping": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_pack(item, tensors) for item in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a state holds tensors and plain values, not {type(value).__name__}")


def _unpack(packed: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "mapping":
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in content}
    items = [_unpack(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _digest(tensors: Mapping[str, torch.Tensor], tree: str) -> str:
    """SHA-256 of the tree and of the tensors' shapes, types and bytes."""
    found = hashlib.sha256(tree.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a tree of mappings, lists, tuples, tensors and plain values, in one move.

    Raises:
        OSError: If it cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    digest = _digest(tensors, tree)
    write_tensors(path, tensors, {"kind": _KIND, "tree": tree, "digest": digest})


def read_state(path: Path) -> dict[str, Any]:
    """The tree of a file that `write_state` wrote, with tensors on the CPU.

    Raises:
        InputError: If it is no such file, or not whole.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != _KIND:
                raise InputError(f"{path} is not a training state of this version of rss-train")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _digest(tensors, metadata["tree"]) != metadata["digest"]:
            raise InputError(f"{path} is damaged: its content does not have its digest")
        return _unpack(json.loads(metadata["tree"]), tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, RecursionError) as error:
        raise InputError(f"{path} is not a whole training state: {str(error)[:200]}") from None
