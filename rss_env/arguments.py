"""Checks of arguments that several parts share: sizes, devices, autoreset modes, seeds, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode

from rss_env.errors import InputError, check_choice


def check_image_size(image_size: int | Sequence[int]) -> tuple[int, int]:
    """(H, W) from one side of a square, or from the two sides.

    Raises:
        InputError: If it is neither, or not positive.
    """
    sides = (image_size,) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) not in (1, 2) or not all(isinstance(s, int) and s > 0 for s in sides):
        raise InputError(f"image_size must be a side or (height, width), got {image_size!r}")
    return sides[0], sides[-1]


def check_autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    """Gymnasium's autoreset mode from its name in any case.

    Raises:
        InputError: If there is no such mode.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    modes = {m.value.lower(): m for m in AutoresetMode}
    name = mode.replace("_", "").lower() if isinstance(mode, str) else mode
    if name not in modes:
        check_choice("autoreset_mode", mode, [m.value for m in AutoresetMode])
    return modes[name]


def check_device(device: str | torch.device) -> torch.device:
    """A torch device that this machine has.

    Raises:
        InputError: If the name is invalid or there is no such device.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}"
        ) from None
    # `cuda` and the tensors on it, `cuda:0`, have to compare equal
    return torch.empty(0, device=found).device


def mask_of_groups(mask: Any, num_envs: int, group_size: int) -> npt.NDArray[np.bool_]:
    """Which groups a `reset_mask` of sub-environments selects; all of them if None.

    Returns:
        (num_envs / group_size,) bool.

    Raises:
        InputError: If it is not a boolean array (num_envs,), selects nothing, or splits a group.
    """
    if mask is None:
        return np.ones(num_envs // group_size, np.bool_)
    per_env = mask.cpu().numpy() if isinstance(mask, torch.Tensor) else mask
    if (
        not isinstance(per_env, np.ndarray)
        or per_env.dtype != np.bool_
        or per_env.shape != (num_envs,)
        or not per_env.any()
    ):
        raise InputError(
            f"options['reset_mask'] must be a boolean array of shape ({num_envs},) with at least "
            f"one True, got {mask!r}"
        )
    members = per_env.reshape(-1, group_size)
    whole = np.all(members, axis=1)
    if (np.any(members, axis=1) != whole).any():
        raise InputError(
            f"options['reset_mask'] must select whole groups of {group_size}, got {mask}"
        )
    return whole


def seeds_of_groups(
    seed: int | Sequence[int | None] | None, num_envs: int, group_size: int
) -> list[int | None]:
    """The seed of each group: s + g for a seed s, or a list's own; None keeps a stream.

    Raises:
        InputError: If a seed is not an integer in 0..2**63 - 1, or differs within a group.
    """
    num_groups = num_envs // group_size
    if seed is None:
        return [None] * num_groups
    if isinstance(seed, int):
        seeds: list[Any] = [seed + g for g in range(num_groups)]
    else:
        members = np.array(list(seed), dtype=object)
        if members.shape != (num_envs,):
            raise InputError(f"seed needs {num_envs} entries, got {seed!r}")
        grouped = members.reshape(num_groups, group_size)
        if (grouped != grouped[:, :1]).any():
            raise InputError(f"seeds must be alike within a group, got {seed!r}")
        seeds = list(grouped[:, 0])
    for value in seeds:
        legal = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
        if value is not None and not legal:
            raise InputError(f"seed must be an integer in 0..2**63 - 1, got {value!r}")
    return seeds
