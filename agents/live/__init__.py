"""A look at runs while they train, and a person who rates what they answer.

`rss-watch` serves a page about runs; `rss-rate` trains from the stars that somebody gives on that
page. Only the modules of the page import NiceGUI (the extra `rss-env[live]`): a scorer that asks a
person needs nothing but files.
"""

from __future__ import annotations

import importlib

from rss_env.errors import InputError


def require_nicegui() -> None:
    """Make sure that NiceGUI is there.

    Raises:
        InputError: If it is not; the message says how to get it.
    """
    try:
        importlib.import_module("nicegui")
    except ImportError:
        raise InputError(
            "NiceGUI is not installed; get it with: pip install 'rss-env[live]'"
        ) from None
