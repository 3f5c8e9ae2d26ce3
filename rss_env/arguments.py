"""Checks of arguments that several parts share: sizes, devices, autoreset modes, seeds, masks."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rss_env.errors import InputError, check_choice

if TYPE_CHECKING:  # slow to import, and only for some of the checks
    import torch
    from gymnasium.vector import AutoresetMode


def check_whole_number(name: str, value: Any, least: int) -> int:
    """Check a whole number of at least `least`; nothing is rounded, and True is no number.

    Raises:
        InputError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Check True or False, and nothing that merely counts as one of them.

    Raises:
        InputError: If it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def load_function(what: str, name: str) -> Callable[..., Any]:
    """Import the function that is named as `module:function`.

    Importing a module runs it: only somebody who may run code may say its name, never a file.

    Args:
        what: What the function is, as the message should name it.
        name: Its name.

    Raises:
        InputError: If the name cannot be imported or is not callable.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except InputError:
        raise
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{what} {name!r} is not 'module:function': {error}") from None
    except Exception as error:  # of whatever a module does when it is imported
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"{what} {name!r} cannot be imported: {type(error).__name__}: {said}"
        ) from error
    if not callable(function):
        raise InputError(f"{what} {name!r} is not callable")
    return function


def check_image_size(image_size: int | Sequence[int], name: str = "image_size") -> tuple[int, int]:
    """Read (H, W) from one side of a square, or from the two sides; `name` is for messages.

    Raises:
        InputError: If it is neither, or not positive.
    """
    sides = tuple(image_size) if isinstance(image_size, (Sequence, np.ndarray)) else (image_size,)
    whole = all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) for s in sides)
    if len(sides) not in (1, 2) or not whole or min(sides) < 1:
        raise InputError(f"{name} must be a side or (height, width), got {image_size!r}")
    return int(sides[0]), int(sides[-1])


def check_crop_size(
    crop_size: int | Sequence[int] | None, image_size: tuple[int, int]
) -> tuple[int, int] | None:
    """Read (h, w) of a part of images (H, W); None for whole images.

    Raises:
        InputError: If it is no size, or larger than the images.
    """
    if crop_size is None:
        return None
    size = check_image_size(crop_size, "crop_size")
    if size[0] > image_size[0] or size[1] > image_size[1]:
        raise InputError(
            f"crop_size must be at most image_size, {image_size[0]}x{image_size[1]}, got "
            f"{size[0]}x{size[1]}"
        )
    return size


def check_autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    """Find Gymnasium's autoreset mode by its name in any case.

    Raises:
        InputError: If there is no such mode.
    """
    from gymnasium.vector import AutoresetMode

    if isinstance(mode, AutoresetMode):
        return mode
    modes = {m.value.lower(): m for m in AutoresetMode}
    name = mode.replace("_", "").lower() if isinstance(mode, str) else ""
    if name not in modes:
        valid = ", ".join(m.value for m in AutoresetMode)
        raise InputError(f"unknown autoreset_mode {mode!r}; valid: {valid}")
    return modes[name]


def check_device(device: str | torch.device) -> torch.device:
    """Find a torch device that this machine has.

    Raises:
        InputError: If the name is invalid or there is no such device.
    """
    import torch

    if not isinstance(device, (str, torch.device)):
        raise InputError(f"device must be a name such as 'cuda:0', got {device!r}")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}"
        ) from None
    if found.type == "meta":
        raise InputError("device 'meta' cannot be used: its tensors hold no values")
    # `cuda` and the tensors on it, `cuda:0`, have to compare equal
    return torch.empty(0, device=found).device


def mask_of_groups(mask: Any, num_envs: int, group_size: int) -> npt.NDArray[np.bool_]:
    """Find the groups that a `reset_mask` of sub-environments selects; all of them if None.

    Returns:
        (num_envs / group_size,) bool.

    Raises:
        InputError: If it is not a boolean array (num_envs,), selects nothing, or splits a group.
    """
    if mask is None:
        return np.ones(num_envs // group_size, np.bool_)
    import torch

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
    """List the seed of each group: s + g for a seed s, or a list's own; None keeps a stream.

    Raises:
        InputError: If a seed is not an integer in 0..2**63 - 1, or differs within a group.
    """
    num_groups = num_envs // group_size
    if seed is None:
        return [None] * num_groups
    if isinstance(seed, (list, tuple)):
        members: list[Any] = list(seed)
        if len(members) != num_envs:
            raise InputError(f"seed needs {num_envs} entries, got {seed!r}")
    else:
        first = _check_seed(seed)
        members = [first + i // group_size for i in range(num_envs)]
    for value in members:
        if value is not None:
            _check_seed(value)
    seeds = members[::group_size]
    if any(value != seeds[i // group_size] for i, value in enumerate(members)):
        raise InputError(f"seeds must be alike within a group, got {seed!r}")
    return seeds


def _check_seed(seed: Any) -> int:
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise InputError(f"seed must be an integer in 0..2**63 - 1, got {seed!r}")
    return seed


def check_reset_options(options: Any, valid: Sequence[str]) -> Mapping[str, Any]:
    """Read a reset's options; None is none.

    Raises:
        InputError: If they are no dict, or hold another than the valid ones.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise InputError(f"options must be a dict, got {options!r}")
    for key in options:
        check_choice("reset option", key, valid)
    return options


def index_of_groups(
    index: Any, num_images: int, num_envs: int, group_size: int
) -> npt.NDArray[np.int64] | None:
    """Read the images that a reset's option `index` names, of each group.

    Args:
        index: The number of an image for all, or one for each sub-environment, alike within a
            group; None for none.
        num_images: How many there are.
        num_envs: N.
        group_size: K.

    Returns:
        (N / K,) int64; None for none.

    Raises:
        InputError: If it is neither, or there is no such image.
    """
    if index is None:
        return None
    try:
        values = np.asarray(index.cpu() if hasattr(index, "cpu") else index)
    except ValueError:  # ragged sequences
        values = np.empty(0)
    if values.dtype.kind not in "iu" or values.shape not in ((), (num_envs,)):
        shapes = "" if num_envs == 1 else f", or {num_envs} of them, one a sub-environment"
        raise InputError(f"options['index'] must be the number of an image{shapes}, got {index!r}")
    members = np.broadcast_to(values, (num_envs,)).reshape(-1, group_size).astype(np.int64)
    if members.min() < 0 or members.max() >= num_images:
        raise InputError(f"options['index'] must be in 0..{num_images - 1}, got {index!r}")
    if (members != members[:, :1]).any():
        raise InputError(f"options['index'] must be alike within a group, got {index!r}")
    return members[:, 0]
