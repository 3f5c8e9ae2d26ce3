"""Packages that are there or not: the extras of `pip install 'rss-env[...]'`, and versions."""

from __future__ import annotations

import importlib
import importlib.metadata

from rss_env.errors import InputError


def require(package: str, name: str, extra: str) -> None:
    """Make sure that an optional package, called `name` by its authors, is there.

    Raises:
        InputError: If it cannot be imported; the message says how to get it.
    """
    try:
        importlib.import_module(package)
    except ImportError:
        raise InputError(
            f"{name} is not installed; get it with: pip install 'rss-env[{extra}]'"
        ) from None


def installed_version(package: str) -> str:
    """The version of a package; `not installed` where there is only its code, as on a path."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
