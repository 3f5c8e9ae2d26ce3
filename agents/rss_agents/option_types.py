"""Types of options that come from Python, where no command line has read them."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from pathlib import Path
from typing import Any

import numpy as np

from rss_env.datasets.paths import expanded
from rss_env.errors import InputError

_LONE = re.compile("[\ud800-\udfff]")  # halves of characters, for bytes that are none


def check_types(options: Any, prefix: str = "") -> None:
    """Refuse options of other types than a configuration says, those of its parts included.

    Paths and strings that name files may each be given as the other.

    Args:
        options: A dataclass of options.
        prefix: What stands before their names in messages.

    Raises:
        InputError: Naming the first option of another type, its value and what is valid.
    """
    from pydantic import TypeAdapter, ValidationError  # slow, and only once a command runs

    hints = typing.get_type_hints(type(options), include_extras=True)
    for field in dataclasses.fields(options):
        name, value, hint = prefix + field.name, getattr(options, field.name), hints[field.name]
        plain = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        if dataclasses.is_dataclass(plain):
            part = typing.cast(type, plain)
            if not isinstance(value, part):
                raise InputError(f"{name} must be a {part.__name__}, got {value!r:.200}")
            check_types(value, f"{name}.")
            continue
        if Path in (plain, *typing.get_args(plain)):
            value = _paths_of(value, several=typing.get_origin(plain) is tuple)
            setattr(options, field.name, value)
        elif isinstance(value, os.PathLike) and str in (plain, *typing.get_args(plain)):
            value = os.fspath(value)
            setattr(options, field.name, value)
        try:
            TypeAdapter(hint).validate_python(_plain(value), strict=True)
        except ValidationError as error:
            told = [found["msg"].removeprefix("Input should be ") for found in error.errors()]
            valid = " or ".join(dict.fromkeys(told))
            raise InputError(f"{name} must be {valid}, got {value!r:.200}") from None


def check_can_be_kept(options: Any, prefix: str = "") -> None:
    """Refuse text that is no UTF-8, as names of files may be: `config.json` could not be read.

    Args:
        options: A dataclass of options.
        prefix: What stands before their names in messages.

    Raises:
        InputError: Naming the first option, and its value.
    """
    for field in dataclasses.fields(options):
        name, value = prefix + field.name, getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            check_can_be_kept(value, f"{name}.")
            continue
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, (str, Path)) and _LONE.search(str(part)):
                raise InputError(
                    f"{name} must be UTF-8, which a run's config.json can hold, got "
                    f"{str(part)!r:.300}; give the file or folder another name"
                )


def expand_paths(options: Any) -> None:
    """Replace `~` by the home folder in the paths of options, those of their parts included.

    A shell does so in `--out ~/runs`, but not in `--out=~/runs`, nor does Python.

    Args:
        options: A dataclass of options; anything else is left alone.

    Raises:
        DatasetError: If there is no such home.
    """
    if not dataclasses.is_dataclass(options):
        return
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, Path):
            setattr(options, field.name, expanded(value))
        elif isinstance(value, tuple) and any(isinstance(part, Path) for part in value):
            parts = (expanded(part) if isinstance(part, Path) else part for part in value)
            setattr(options, field.name, tuple(parts))
        else:
            expand_paths(value)


def _paths_of(value: Any, *, several: bool) -> Any:
    """Paths of what may be given for one, or for several of them; other values as they are."""
    if several and isinstance(value, (list, tuple)):
        return tuple(_paths_of(part, several=False) for part in value)
    if isinstance(value, (str, os.PathLike)):
        return (expanded(value),) if several else expanded(value)
    return value


def _plain(value: Any) -> Any:
    """A value as the types mean it: lists as tuples, numbers of NumPy as those of Python."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
