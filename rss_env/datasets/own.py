"""Data sets of one's own, by name: `module:Class`, or an entry point of an installed package.

A `module:Class` is code: it has to come from the command line or from a caller, never from a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from rss_env.arguments import load_function
from rss_env.errors import InputError

ENTRY_POINTS = "rss_env.datasets"  # the group in a package's metadata
OBJECT = "object "  # what stands before the name of an object that a program has passed
_IDENTIFIER = r"[^\W\d]\w*"
_NAME = re.compile(rf"{_IDENTIFIER}(\.{_IDENTIFIER})*:{_IDENTIFIER}(\.{_IDENTIFIER})*")


def names_code(name: str) -> bool:
    """Tell whether a name stands for its user's code, `module:Class`."""
    return _NAME.fullmatch(name) is not None


def installed_datasets() -> dict[str, EntryPoint]:
    """The data sets that installed packages bring, by name."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def is_own(name: str) -> bool:
    """Tell whether a name is of a data set that this package does not bring."""
    return names_code(name) or name.startswith(OBJECT) or name in installed_datasets()


def load_own(name: str) -> Callable[..., Any]:
    """The class or function that a name stands for; its module is imported.

    Raises:
        InputError: If there is none, or it cannot be imported.
    """
    if name.startswith(OBJECT):
        raise InputError(
            f"{name!r} was an object of the program that started the run: only it can pass that on"
        )
    if names_code(name):
        return load_function("data set", name)
    try:
        return installed_datasets()[name].load()
    except Exception as error:  # of whatever the package's own code raises
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"data set {name!r} cannot be loaded: {reason:.300}") from error
