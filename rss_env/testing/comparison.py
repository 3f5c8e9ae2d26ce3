"""Deep comparison of what environments give, whatever holds it: arrays, tensors, dicts, tuples."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch


def as_numpy(value: Any, *, copied: bool = False) -> Any:
    """The same nest with tensors as arrays; what is neither stays.

    Args:
        value: A nest of dicts, tuples and lists.
        copied: Whether nothing in the answer may share memory with the nest.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, dict):
        return {key: as_numpy(part, copied=copied) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(as_numpy(part, copied=copied) for part in value)
    if copied and isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy()
    return copy.deepcopy(value) if copied else value


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Every array of a nest of dicts and tuples, each with the path to it."""
    if isinstance(value, dict):
        items = [(f"{path}[{key!r}]", part) for key, part in value.items()]
    elif isinstance(value, (tuple, list)):
        items = [(f"{path}[{i}]", part) for i, part in enumerate(value)]
    else:
        return [(path, value)]
    return [leaf for where, part in items for leaf in leaves(part, where)]


def info_of_each(
    infos: dict[str, Any], num_envs: int, ignored: Collection[str] = ()
) -> list[dict[str, Any]]:
    """A vector environment's infos as one dict per sub-environment, masks applied.

    A key without a mask counts for every sub-environment, as in Gymnasium's `DictInfoToList`.
    """
    each: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, value in infos.items():
        if key.startswith("_") or key in ignored:
            continue
        mask = infos.get(f"_{key}", np.ones(num_envs, np.bool_))
        rows: Any = info_of_each(value, num_envs, ignored) if isinstance(value, dict) else value
        for i in np.flatnonzero(mask):
            each[i][key] = rows[i]
    return each


def difference(got: Any, want: Any, path: str = "") -> str | None:
    """Say where two nests differ first; None if they are equal. NaN equals NaN."""
    if isinstance(got, dict) and isinstance(want, dict):
        if set(got) != set(want):
            return f"{path} has keys {sorted(map(str, got))}, not {sorted(map(str, want))}"
        parts = [(got[key], want[key], f"{path}[{key!r}]") for key in want]
        return _first(parts)
    if isinstance(got, (tuple, list)) and isinstance(want, (tuple, list)):
        if len(got) != len(want):
            return f"{path} has {len(got)} entries, not {len(want)}"
        return _first([(g, w, f"{path}[{i}]") for i, (g, w) in enumerate(zip(got, want))])  # noqa: B905
    return _difference_of_arrays(np.asarray(got), np.asarray(want), path)


def _first(parts: Sequence[tuple[Any, Any, str]]) -> str | None:
    return next((d for d in (difference(*part) for part in parts) if d is not None), None)


def _difference_of_arrays(got: Any, want: Any, path: str) -> str | None:
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{path} is {got.dtype} {got.shape}, not {want.dtype} {want.shape}"
    if got.dtype == object and got.shape:
        return difference(list(got), list(want), path)
    unequal = np.asarray(got != want)
    if got.dtype.kind in "fc":
        unequal &= ~(np.isnan(got) & np.isnan(want))
    if not unequal.any():
        return None
    place = tuple(int(i) for i in np.argwhere(unequal)[0])
    where = "".join(f"[{i}]" for i in place)
    return f"{path}{where} is {got[place]!r}, not {want[place]!r}"
