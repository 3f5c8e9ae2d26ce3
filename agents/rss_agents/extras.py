"""Packages that not everybody needs: the extras of `pip install 'rss-env[...]'`."""

from __future__ import annotations

import importlib

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
