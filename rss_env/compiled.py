"""Machine code of functions, kept on the disk wherever there is a place for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import numba

from rss_env.cache_folders import cache_place


def compiled(**options: Any) -> Callable[[FunctionType], Any]:
    """Compile a function by numba (as a decorator), once for all processes if that can be.

    numba refuses a function whose code it has no place for; here it is compiled by each process.

    Args:
        **options: Of `numba.njit`.
    """

    def compile_function(function: FunctionType) -> Any:
        beside = Path(function.__code__.co_filename).parent
        if cache_place() is None and not os.access(beside, os.W_OK):
            return numba.njit(**options)(function)
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:  # numba has no exception of its own for it
            if "no locator available" not in str(error):
                raise
            return numba.njit(**options)(function)

    return compile_function
