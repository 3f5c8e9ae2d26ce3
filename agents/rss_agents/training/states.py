"""The training states of a run's folder: the last few, by the number of updates they are of."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from rss_agents.distributed import rank, world_size
from rss_agents.files import digest_of, write_tensors
from rss_agents.training.run_files import RESULT_NAME, STATES_FOLDER
from rss_env.datasets.paths import expanded
from rss_env.errors import InputError

_NAME = re.compile(r"update-(\d{1,18})-rank(\d{1,9})\.safetensors")


class RunStates:
    """Writes and finds states; every process of a run has a file of its own for each of them."""

    def __init__(self, run: Path, keep: int = 2):
        """Bind the folder of a run, which keeps so many states, at least 2."""
        self.folder, self._keep = run / STATES_FOLDER, keep

    def path(self, update: int, of_rank: int | None = None) -> Path:
        """A process's file of the state after so many updates; by default this process's."""
        number = rank() if of_rank is None else of_rank
        return self.folder / f"update-{update:08d}-rank{number}.safetensors"

    def updates(self) -> list[int]:
        """The updates of which there are states of all processes, in order."""
        found: dict[int, set[int]] = {}
        for path in self.folder.glob("*.safetensors"):
            match = _NAME.fullmatch(path.name)
            if match is not None:
                found.setdefault(int(match[1]), set()).add(int(match[2]))
        ranks = set(range(world_size()))
        return sorted(update for update, there in found.items() if there >= ranks)

    def last(self) -> int | None:
        """The update of the last state; None if there is none."""
        updates = self.updates()
        return updates[-1] if updates else None

    def write(self, update: int, state: Mapping[str, Any]) -> None:
        """Write this process's part of a state, and let go of its older ones.

        Raises:
            OSError: If it cannot be written; the older ones are kept then.
        """
        self.folder.mkdir(exist_ok=True)
        write_state(self.path(update), state)
        # The one before stays: of several processes the slowest may not have written this one yet.
        for older in [u for u in self.updates() if u < update][: 1 - self._keep]:
            self.path(older).unlink(missing_ok=True)

    def forget_after(self, update: int) -> None:
        """Remove the states of later updates, of all processes: the run goes on without them."""
        for path in self.folder.glob("*.safetensors"):
            match = _NAME.fullmatch(path.name)
            if match is not None and int(match[1]) > update:
                path.unlink(missing_ok=True)

    def read(self, update: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The first process's part of a state, and this process's own.

        Raises:
            InputError: If a part is missing or damaged; it names what can be used instead.
        """
        try:
            parts = [read_state(self.path(update, number)) for number in {0: 0, rank(): 0}]
        except InputError as error:
            raise InputError(f"{error}; {self.advice(update)}") from None
        return parts[0], parts[-1]

    def advice(self, update: int) -> str:
        """What can be done where a state cannot be used."""
        before = [u for u in self.updates() if u < update]
        if not before:
            return "there is no state before it: start again with --overwrite"
        path = self.path(before[-1], 0)
        return f"go on from the state before it with --resume {path}"

    def remove(self) -> None:
        """Remove all states: there is nothing to go on with."""
        shutil.rmtree(self.folder, ignore_errors=True)


def find_state(resumed: str | os.PathLike[str]) -> tuple[Path, int]:
    """The folder of the run to go on with, and the number of updates of the state to start from.

    Args:
        resumed: The folder, for its last state, or the file of a state in it.

    Raises:
        InputError: If there is no state.
    """
    resumed = expanded(resumed)
    match = _NAME.fullmatch(resumed.name)
    if match is not None:
        return resumed.parent.parent, int(match[1])
    last = RunStates(resumed).last()
    if last is None:
        reason = "it holds no state of all processes"
        if (resumed / RESULT_NAME).exists():
            reason = (
                "the run is complete, and its learning rate at the end of its schedule; to train "
                f"on from its weights, begin a new run with --start-from {resumed}, another --out, "
                "and the --env and --network it had"
            )
        raise InputError(f"there is nothing to resume in {resumed}: {reason}")
    return resumed, last


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


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a tree of mappings, lists, tuples, tensors and plain values, in one move.

    Raises:
        OSError: If it cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = json.dumps(_pack(state, tensors))
    digest = digest_of(tensors, tree)
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
        if digest_of(tensors, metadata["tree"]) != metadata["digest"]:
            raise InputError(f"{path} is damaged: its content does not have its digest")
        return _unpack(json.loads(metadata["tree"]), tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, RecursionError) as error:
        raise InputError(f"{path} is not a whole training state: {str(error)[:200]}") from None
