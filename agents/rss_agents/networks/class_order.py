"""Classes of a checkpoint and of a data set, held against each other by their names."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rss_env.errors import InputError


def class_order(own: Sequence[str], data: Sequence[str]) -> torch.Tensor | None:
    """The data set's class index of each class of a network, found by name.

    Names that a data set made up since it was only told how many classes there are (`class 0`,
    `class 1`, ...) say nothing: such classes are matched by their place.

    Args:
        own: Class names of the network.
        data: Class names of the data set.

    Returns:
        (C,) int64; None if every class has its own place.

    Raises:
        InputError: If they are not the same classes.
    """
    if len(own) != len(data):
        raise InputError(
            f"the checkpoint has {len(own)} classes ({_listed(own)}), the data has {len(data)} "
            f"({_listed(data)})"
        )
    if list(own) == list(data) or _made_up(own) or _made_up(data):
        return None
    if set(own) != set(data):
        raise InputError(
            "the checkpoint and the data have other classes, so that no answer can be compared: "
            f"the checkpoint's are {_listed(own)}; the data's are {_listed(data)}"
        )
    return torch.tensor([list(data).index(name) for name in own])


def _made_up(names: Sequence[str]) -> bool:
    return all(name == f"class {number}" for number, name in enumerate(names))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))[:600]
